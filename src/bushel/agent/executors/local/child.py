"""From the shim to the task's program.

Guarantees: the program starts in its own process group, in the session that its shim leads, in the task's control
groups, with no descriptor but its three, and no blocked or ignored signal; no code of ours runs in between
(posix_spawn), so a start costs little however large the shim is. If it cannot start, there is a sentence that says
why.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bushel.agent.executors.local.cgroups import TaskGroups
    from bushel.agent.executors.local.steps import Step

OPEN_FILES_LIMIT = 65_536

_DEFAULTS = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]


def spawn(step: Step, work: str, groups: TaskGroups, limits: Mapping[str, int], output: int, errors: int) -> int:
    """Start the step's program in `work` and return its process id. The caller has one thread.

    Raises:
        OSError: it could not be started; see `sentence`.
    """
    os.chdir(work)
    file_size = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        program = _find(step.argv[0], step.env.get("PATH", os.defpath))
        if limits["disk_bytes"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits["disk_bytes"], file_size[1]))
        groups.enter()
        try:
            pid = os.posix_spawn(
                program,
                step.argv,
                step.env,
                file_actions=((os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, errors, 2)),
                setpgroup=0,
                setsigmask=(),
                setsigdef=_DEFAULTS,
            )
        except FileNotFoundError as error:  # the file is there, as we have just seen: the kernel means another
            raise OSError(error.errno, error.strerror, program, None, "interpreter") from error
        finally:
            groups.leave()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, file_size)
        os.chdir("/")
    if limits["memory_bytes"] and not groups.paths:
        # RLIMIT_DATA counts what a process could write to; RLIMIT_AS would also count reservations, which break Java, Go and CUDA.
        most = limits["memory_bytes"]
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))
    return pid


def raise_file_limit() -> None:
    """For this process and all that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES_LIMIT if most == resource.RLIM_INFINITY else min(most, OPEN_FILES_LIMIT)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sentence(step: Step, error: OSError) -> str:
    """Why a program did not start, for whoever asked for it."""
    program = step.argv[0]
    if error.errno == errno.ENOENT:
        if "/" not in program:
            return f"there is no command {program!r} in PATH ({step.env.get('PATH', os.defpath)})"
        if error.filename2 == "interpreter":
            return f"{program!r} names an interpreter in its first line that does not exist"
        return f"there is no file {program!r}"
    if error.errno == errno.EACCES:
        return f"{program!r} is a folder" if error.filename2 == "folder" else f"{program!r} may not be executed: is it executable?"
    if error.errno == errno.ENOEXEC:
        return f"{program!r} is neither a program for this machine nor a script that begins with #!"
    if error.errno == errno.E2BIG:
        return f"{program!r} could not start: its arguments and environment together are longer than this kernel takes"
    return f"{program!r} could not start: {error.strerror}"


def _find(program: str, path: str) -> str:
    """The file behind a command, looked for as a shell would; relative names start from the working folder.

    Raises:
        OSError: there is none that may be executed.
    """
    candidates = [program] if "/" in program else [f"{folder or '.'}/{program}" for folder in path.split(os.pathsep)]
    denied: OSError | None = None
    for candidate in candidates:
        if os.path.isdir(candidate):
            denied = denied or OSError(errno.EACCES, "is a folder", candidate, None, "folder")
        elif os.access(candidate, os.X_OK):
            return candidate
        elif os.path.exists(candidate):
            denied = denied or OSError(errno.EACCES, "may not be executed", candidate)
    raise denied or OSError(errno.ENOENT, "there is no such file", program)
