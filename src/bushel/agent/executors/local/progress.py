"""What a task says of its own progress: the last whole JSON line of its progress file, or of what it printed.

Guarantees: reading is bounded, whatever the task wrote; what is not an object of JSON is skipped; the later of file
and print wins. What comes out can be sent and stored: a loss that became NaN costs that one value and not the report.
"""

from __future__ import annotations

import json
import os

from bushel.agent.executors.local.folder import PROGRESS, PROGRESS_PRINTED
from bushel.domain.foreign import clean_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

READ_LIMIT_BYTES = 32 * 1024
LINE_LIMIT_BYTES = 8192


def last_progress(folder: str, printed: bytes | None = None) -> dict[str, Any] | None:
    """`printed` is what the task printed last, where the caller knows; otherwise its file is read."""
    written, written_at = _tail(f"{folder}/{PROGRESS}")
    if printed is not None:
        # What was printed has no time of its own; the file wins only if it was written in the meantime.
        return _last_object(written) or _last_object(printed) if written else _last_object(printed)
    shown, shown_at = _tail(f"{folder}/{PROGRESS_PRINTED}")
    first, second = (written, shown) if written_at >= shown_at else (shown, written)
    return _last_object(first) or _last_object(second)


def _tail(path: str) -> tuple[bytes, int]:
    """The end of a file and when it was written."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b"", 0
    try:
        about = os.fstat(descriptor)
        return os.pread(descriptor, READ_LIMIT_BYTES, max(0, about.st_size - READ_LIMIT_BYTES)), about.st_mtime_ns
    except OSError:
        return b"", 0
    finally:
        os.close(descriptor)


def _last_object(text: bytes) -> dict[str, Any] | None:
    """Lines without an end count too when they parse: a program may write without a last newline."""
    for line in reversed(text.splitlines()[-64:]):
        if len(line) > LINE_LIMIT_BYTES:
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return clean_value(value)
    return None
