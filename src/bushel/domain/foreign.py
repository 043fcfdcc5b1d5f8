"""Values that came from somewhere else, a task or an agent, as they can be stored, sent and shown.

Guarantees: what comes out is JSON that PostgreSQL holds and the API takes, of a bounded depth; its numbers are finite and small
enough to reckon with; its texts cannot move a terminal's cursor, change its colours or the direction in which it writes. A value
that does not pass costs itself, never what stands beside it.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST = 2**62
DEPTH_LIMIT = 16

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and newline, changes of direction, halves of surrogate pairs."""


def clean_text(text: str, longest: int) -> str:
    """At most `longest` characters, with U+FFFD for those that are commands and not text."""
    return _COMMANDS.sub("\ufffd", text[:longest])


def clean_value(value: Any, depth: int = DEPTH_LIMIT) -> Any:
    """Anything out of JSON, with None for numbers that are too large or not finite and for what lies deeper than `depth`."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(value, len(value))
    if isinstance(value, int | float):
        return value if abs(value) <= LARGEST else None  # nothing compares to NaN
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {clean_text(key, len(key)): clean_value(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [clean_value(inner, depth - 1) for inner in value]
    return None
