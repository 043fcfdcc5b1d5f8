"""What is on disk of one task: the facts that outlive the agent, the launcher and the task itself.

    tasks/k7q2m.17.2.0/        attempt, then rank
        started                written once, before the task's first process exists; locked for as long as its shim lives
        stop                   what was asked: reason, grace. Replaced whole
        result                 how it ended. Written whole, once
        work/                  the task's working folder
        log/                   output that is still to be sent; see `spool`
        progress, progress-printed

Guarantees: a task is started at most once, whoever asks and however often (`claim`: the mark is made under the lock and only
in an empty file); whoever finds the lock free knows that no shim is alive; `result` is there before the lock is
released. Nothing is flushed to the disk: these facts survive the death of every process, and after a power cut (a new boot id)
everything that was accepted before counts as lost. No secret is ever written here.
"""

from __future__ import annotations

import fcntl
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

STARTED, STOP, RESULT, WORK, LOG = "started", "stop", "result", "work", "log"
PROGRESS, PROGRESS_PRINTED = "progress", "progress-printed"

_READ_LIMIT_BYTES = 1024 * 1024


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


def claim(folder: str, mark: dict[str, Any]) -> int | None:
    """Take the task for this process: the descriptor that holds its lock, or None if it was started before or is being started.

    The lock goes with the process, so the descriptor must stay open, and must not reach the task.
    """
    descriptor = os.open(f"{folder}/{STARTED}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_size:
            raise BlockingIOError
        os.write(descriptor, json.dumps(mark).encode())
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def shim_is_alive(folder: str) -> bool:
    """Whether somebody holds the task's lock."""
    try:
        descriptor = os.open(f"{folder}/{STARTED}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read(folder: str, name: str) -> dict[str, Any] | None:
    """One of the files above, or None if it is not there or not whole."""
    try:
        descriptor = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        value = json.loads(os.read(descriptor, _READ_LIMIT_BYTES) or b"null")
    except ValueError:
        return None
    finally:
        os.close(descriptor)
    return value if isinstance(value, dict) else None


def replace(path: str, value: dict[str, Any]) -> None:
    """Write a file so that readers see the old or the new, never a part."""
    replace_bytes(path, json.dumps(value).encode())


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
