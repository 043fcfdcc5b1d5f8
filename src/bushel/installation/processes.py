"""Processes that the installation starts: none outlives the one that started it by accident.

Guarantees: a child gets `death_signal` from the kernel when the thread that started it ends, however that ended; it
has no descriptor of ours but the log it writes to, and no more rights than its account.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def start(
    command: Sequence[str | Path],
    *,
    log: Path | None,
    environment: Mapping[str, str],
    death_signal: signal.Signals = signal.SIGKILL,
    uid: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, its output appended to `log`. For programs with one thread: see `preexec_fn`."""
    output: int = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600) if log else subprocess.DEVNULL
    try:
        return subprocess.Popen[bytes](
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
            preexec_fn=dies_with_parent(death_signal),
            **account(uid),
        )
    finally:
        if log:
            os.close(output)


def run(command: Sequence[str | Path], *, environment: Mapping[str, str], uid: int | None = None, text: str | None = None) -> str:
    """Run a short command to its end. Returns what it printed.

    Raises:
        RuntimeError: it failed; the message holds the end of what it said.
    """
    done = subprocess.run(
        command,
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        env=dict(environment),
        cwd="/",
        timeout=120,
        check=False,
        preexec_fn=dies_with_parent(signal.SIGKILL),
        **account(uid),
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: " + " / ".join(said))
    return done.stdout


def account(uid: int | None) -> dict[str, Any]:
    """Arguments for a child under another account, with no group but its own."""
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


def dies_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """What a child does between fork and exec. It runs after the change of account, which would clear the request."""
    parent = os.getpid()

    def ask() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def working_in(folder: Path) -> list[int]:
    """Processes whose working folder is `folder`, zombies left out."""
    real = os.path.realpath(folder)
    found = []
    for process in os.scandir("/proc"):
        if process.name.isdigit():
            with suppress(OSError):
                if os.readlink(f"/proc/{process.name}/cwd") == real:
                    found.append(int(process.name))
    return found


def sync_file_system(path: Path) -> None:
    """Bring all that was written to the file system of `path` to its disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(descriptor)
