"""What is on disk of one task: the facts that outlive the agent, the launcher and the task itself.

    tasks/k7q2m.17.2.0/        attempt, then rank
        record                 first line: its start; second line: its end. Locked for as long as its shim works on it
        stop                   what was asked: reason, grace. Replaced whole
        work/                  the task's working folder
        log/                   output that is still to be sent; see `spool`
        progress, progress-printed
        result, partitions     of a stage of a run: what it came to, what it lists

The agent makes the folder when it accepts a task and takes it away when the task is forgotten; nobody else does.

Guarantees: a task is started at most once, whoever asks and however often (`claim`: the start is written under the
lock and only into an empty file, and only where there is a folder); whoever finds the lock free knows that no shim is
alive; the end is there before the lock is released; a line without its newline does not count. Nothing is flushed to
the disk: these facts survive the death of every process, and after a power cut (a new boot id) everything that was
accepted before counts as lost. A full disk keeps nobody from stopping a task: the room for it is taken at the start.
No secret is ever written here.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

RECORD, STOP, WORK, LOG = "record", "stop", "work", "log"
PROGRESS, PROGRESS_PRINTED = "progress", "progress-printed"
RESULT, PARTITIONS = "result", "partitions"

FOLDER_MODE, WORK_MODE = 0o700, 0o755

_READ_LIMIT_BYTES = 8 * 1024 * 1024
_RESERVED_BYTES = 512


class DiskFull(OSError):
    """A line was not written, and nothing of it is left."""


def task_key(attempt: str, rank: int) -> str:
    """The name of a task's folder."""
    return f"{attempt}.{rank}"


def parse_task_key(key: str) -> tuple[str, int]:
    """Attempt id and rank.

    Raises:
        ValueError: no task has this key.
    """
    attempt, _, rank = key.rpartition(".")
    if attempt.count(".") != 2 or not rank.isdecimal():
        raise ValueError(f"{key!r} is not a task")
    return attempt, int(rank)


def claim(folder: str, start: dict[str, Any]) -> int | None:
    """Take the task for this process: the descriptor that holds its lock, or None if it was started before or is being started.

    Raises:
        FileNotFoundError: the task was forgotten; its folder may belong to another by now.
        OSError: the start could not be written, so there was none.
    """
    path = f"{folder}/{RECORD}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        while True:
            if os.fstat(descriptor).st_size:
                os.close(descriptor)
                return None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # somebody starts it, or only looks
                time.sleep(0.001)
        ours = os.fstat(descriptor)
        if ours.st_size == 0:
            if os.stat(path).st_ino != ours.st_ino:
                raise FileNotFoundError(path)
            _append(descriptor, start)
            return descriptor
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def lock_record(folder: str) -> int | None:
    """The descriptor that holds the lock of a task which nobody works on; None if somebody does, or if it was never started."""
    try:
        descriptor = os.open(f"{folder}/{RECORD}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def finish(descriptor: int, end: dict[str, Any]) -> None:
    """Write how the task ended, under the lock that `descriptor` holds.

    Raises:
        DiskFull: it was not written.
    """
    _append(descriptor, end)


def read_record(folder: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None, bool]:
    """Start, end, and whether a shim is at work. An end that appears while we look is not missed."""
    try:
        descriptor = os.open(f"{folder}/{RECORD}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, None, False
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            alive = False
        except BlockingIOError:
            alive = True
        lines = os.read(descriptor, min(_READ_LIMIT_BYTES, os.fstat(descriptor).st_size + 1)).split(b"\n")[:-1]
    finally:
        os.close(descriptor)
    start = json.loads(lines[0]) if lines else None
    end = json.loads(lines[1]) if len(lines) > 1 else None
    return start, end, alive


def finish_for_dead_shim(folder: str, end: dict[str, Any]) -> dict[str, Any]:
    """Write the end of a task whose shim is dead, unless there is one. Returns the end that holds."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = os.open(f"{folder}/{RECORD}", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        content = os.pread(descriptor, min(_READ_LIMIT_BYTES, os.fstat(descriptor).st_size + 1), 0)
        lines = content.split(b"\n")[:-1]
        if len(lines) > 1:
            return json.loads(lines[1])
        os.ftruncate(descriptor, content.rfind(b"\n") + 1)
        if not lines:
            _append(descriptor, {})
        _append(descriptor, end)
    finally:
        os.close(descriptor)
    return end


def read(folder: str, name: str) -> dict[str, Any] | None:
    """A file that is replaced whole, or None if it is not there."""
    try:
        descriptor = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        value = json.loads(os.read(descriptor, min(_READ_LIMIT_BYTES, os.fstat(descriptor).st_size + 1)) or b"null")
    except ValueError:
        return None
    finally:
        os.close(descriptor)
    return value if isinstance(value, dict) else None


def replace(path: str, value: dict[str, Any]) -> None:
    """Write a file so that readers see the old or the new, never a part.

    On a full disk it is written over what is there, if that is long enough: then a reader at that very moment may see a part.

    Raises:
        OSError: it was not written.
    """
    content = json.dumps(value).encode().ljust(_RESERVED_BYTES)
    try:
        replace_bytes(path, content)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _overwrite(path, content):
            raise


def reserve(path: str) -> None:
    """Take the room that `replace` will need. Until then the file is read as none.

    Raises:
        OSError: there is no room.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, b" " * _RESERVED_BYTES) < _RESERVED_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def is_reserved(path: str) -> bool:
    """Whether the room is still as `reserve` took it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 2 * _RESERVED_BYTES) == b" " * _RESERVED_BYTES
    finally:
        os.close(descriptor)


def _overwrite(path: str, content: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return os.fstat(descriptor).st_size == len(content) and os.pwrite(descriptor, content, 0) == len(content)
    finally:
        os.close(descriptor)


def replace_bytes(path: str, content: bytes) -> None:
    """As `replace`."""
    descriptor = os.open(f"{path}~", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)
    os.rename(f"{path}~", path)


def keys(tasks_folder: str) -> Iterator[str]:
    """The tasks that have a folder."""
    with os.scandir(tasks_folder) as entries:
        for entry in entries:
            try:
                parse_task_key(entry.name)
            except ValueError:
                continue
            yield entry.name


def _append(descriptor: int, line: dict[str, Any]) -> None:
    """All of it or nothing."""
    content = json.dumps(line).encode() + b"\n"
    size = os.fstat(descriptor).st_size
    try:
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        os.ftruncate(descriptor, size)
        raise DiskFull(error.errno, error.strerror) from error
