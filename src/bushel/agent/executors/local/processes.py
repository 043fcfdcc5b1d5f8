"""Looking at and signalling processes without ever hitting a stranger.

Guarantees: a process is named by its number and its start time in one boot, so a number that was given to somebody else
is not the same process; a signal goes through a descriptor that is bound to the process which was looked at.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """See prctl(2).

    Raises:
        OSError: the kernel refused.
    """
    if _libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def set_name(name: bytes) -> None:
    """What `ps` and `top` call this process: at most 15 bytes."""
    _libc.prctl(PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0)


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine did; None if there is none or it is only waited for."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in (b"Z", b"X") else int(fields[19])


def send(pid: int, ticks: int, number: int) -> bool:
    """Signal the process that started at `ticks`; False if it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if start_ticks(pid) != ticks:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, as far as they can be seen now."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in _children(waiting.pop()):
            found.append(child)
            waiting.append(child)
    return found


def survivors(session: int, session_ticks: int, mark: bytes) -> list[int]:
    """Processes that a dead session leader `session` left behind: of its session, or with `mark` in their environment.

    The number of a session is not given to a new process while a member lives; so if it names a younger process now, no
    member is left.
    """
    leader = start_ticks(session)
    session_gone = leader is not None and leader != session_ticks
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        pid = int(name)
        fields = _stat(pid)
        if fields is None or fields[0] in (b"Z", b"X") or int(fields[19]) < session_ticks:
            continue
        in_session = not session_gone and int(fields[3]) == session
        if in_session or _has_mark(pid, mark):
            found.append(pid)
    return found


def _has_mark(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def _stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat from the third, the state, on."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return children
    for thread in threads:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            children.extend(map(int, file.read().split()))
    return children
