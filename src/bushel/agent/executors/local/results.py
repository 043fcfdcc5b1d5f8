"""What a task of a stage left of what it came to: one object in its result file, and the partitions that it lists.

Guarantees: reading is bounded, whatever the task wrote; what cannot be sent is an error of the task and never left out in silence; no
link is followed.
"""

from __future__ import annotations

import json
import os
import zlib
from base64 import b64encode

from bushel.agent.executors.local.folder import PARTITIONS, RESULT
from bushel.domain.foreign import clean_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BODY_LIMIT_BYTES = 64 * 1024
NAMES_LIMIT_BYTES = 64 * 1024 * 1024
PACKED_LIMIT = 4 * 1024 * 1024


class BadResult(Exception):
    """What the task wrote cannot be sent. The text is a sentence for its owner."""


def task_result(folder: str) -> dict[str, Any] | None:
    """None if it left nothing.

    Raises:
        BadResult: it is too large, or not what it should be.
    """
    body, names = _read(f"{folder}/{RESULT}", BODY_LIMIT_BYTES, "BUSHEL_RESULT_FILE"), _names(folder)
    result: dict[str, Any] = {}
    if body is not None:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadResult(f"BUSHEL_RESULT_FILE is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise BadResult("BUSHEL_RESULT_FILE holds no object")
        result["body"] = clean_value(value)
    if names is not None:
        result["names"] = names
    return result or None


def _names(folder: str) -> str | None:
    text = _read(f"{folder}/{PARTITIONS}", NAMES_LIMIT_BYTES, "BUSHEL_PARTITIONS_FILE")
    if text is None:
        return None
    packed = b64encode(zlib.compress(text, 6)).decode()
    if len(packed) > PACKED_LIMIT:
        raise BadResult(f"BUSHEL_PARTITIONS_FILE has {len(packed)} bytes when it is packed; the most is {PACKED_LIMIT}")
    return packed


def _read(path: str, limit: int, name: str) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadResult(f"{name} cannot be read: {error.strerror}") from None
    try:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise BadResult(f"{name} has {size} bytes; the most is {limit}")
        return os.read(descriptor, limit)
    except OSError as error:
        raise BadResult(f"{name} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
