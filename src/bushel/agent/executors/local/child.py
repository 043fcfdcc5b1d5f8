"""From a fork of the shim to the task's program: what happens between the two.

Guarantees: the program starts in its own process group, in the session that its shim leads, in the task's control groups, with no descriptor but
its three, no blocked or ignored signal, and dies with its shim. If it cannot start, the reason goes up a pipe that closes
when it does: silence is success.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal

from bushel.agent.executors.local import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from bushel.agent.executors.local.cgroups import TaskGroups

OPEN_FILES_LIMIT = 65_536

_ARGUMENTS_TOO_LONG = "its arguments and environment together are longer than this kernel takes"


class Step:
    """One of the processes that a task consists of: `unpack`, `setup` or `run`."""

    def __init__(self, name: str, argv: Sequence[str], *, by_shell: bool = False) -> None:
        self.name = name
        self.argv = list(argv)
        self.by_shell = by_shell  # its first process is a shell of ours, around a text of the user's


def become(step: Step, request: dict[str, Any], groups: TaskGroups, parent: int, descriptors: tuple[int, int, int]) -> NoReturn:
    """Turn this fork into the step's program. `descriptors`: standard output, standard error, and where to report failure."""
    output, errors, failure = descriptors
    try:
        processes.prctl(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        os.setpgid(0, 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        try:
            groups.join()
        except OSError as error:
            _fail(failure, "task_lost", f"its control groups could not be joined: {error.strerror}")
        if not groups.paths:
            _limit_process(request["limits"])
        _limit_files(request["limits"])
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.chdir(f"{request['folder']}/work")
        if step.name == "unpack":
            _unpack(request, failure)
        os.execvpe(step.argv[0], step.argv, request["env"])  # noqa: S606 - no shell is meant
    except OSError as error:
        _fail(failure, "start_failed", _sentence(step, request, error))
    except BaseException as error:
        _fail(failure, "start_failed", f"{type(error).__name__}: {error}")


def _unpack(request: dict[str, Any], failure: int) -> NoReturn:
    from bushel.agent.archive import BadArchive, unpack

    try:
        unpack(request["workdir"], f"{request['folder']}/work")
    except BadArchive as error:
        _fail(failure, "workdir_failed", str(error))
    except OSError as error:
        reason = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "workdir_failed"
        _fail(failure, reason, f"the workdir could not be unpacked: {error.strerror}")
    os._exit(0)


def _limit_process(limits: dict[str, int]) -> None:
    # RLIMIT_DATA counts what a process could write to; RLIMIT_AS would also count reservations, which break Java, Go and CUDA.
    if limits["memory_bytes"]:
        resource.setrlimit(resource.RLIMIT_DATA, (limits["memory_bytes"], limits["memory_bytes"]))


def _limit_files(limits: dict[str, int]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES_LIMIT if most == resource.RLIM_INFINITY else min(most, OPEN_FILES_LIMIT)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if limits["disk_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits["disk_bytes"], limits["disk_bytes"]))


def _sentence(step: Step, request: dict[str, Any], error: OSError) -> str:
    program = step.argv[0]
    if error.errno == errno.ENOENT:
        if "/" not in program:
            return f"there is no command {program!r} in PATH ({request['env'].get('PATH', 'which is not set')})"
        if os.path.exists(program):
            return f"{program!r} names an interpreter in its first line that does not exist"
        return f"there is no file {program!r} in the working folder"
    if error.errno == errno.EACCES:
        return f"{program!r} is a folder" if os.path.isdir(program) else f"{program!r} may not be executed: is it executable?"
    if error.errno == errno.ENOEXEC:
        return f"{program!r} is neither a program for this machine nor a script that begins with #!"
    if error.errno == errno.E2BIG:
        return f"{program!r} could not start: {_ARGUMENTS_TOO_LONG}"
    return f"{program!r} could not start: {error.strerror}"


def _fail(failure: int, reason: str, message: str) -> NoReturn:
    os.write(failure, json.dumps({"reason": reason, "message": message}).encode()[:4000])
    os._exit(127)
