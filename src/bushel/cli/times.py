"""Times as people write them."""

from __future__ import annotations

import time

from bushel.cli.mistakes import Wrong
from bushel.cli.words import epoch_seconds

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds(text: str) -> float:
    """`90`, `30s`, `5m`, `2h`, `3d`.

    Raises:
        Wrong: it is none of these.
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(number) :].strip()
    try:
        return float(number) * (_SECONDS[unit] if unit else 1)
    except (ValueError, KeyError):
        raise Wrong(f"{text!r} is not a time. Write 30s, 5m, 2h or 3d") from None


def moment(text: str) -> str:
    """The RFC 3339 time of `2h` (ago), `2026-11-24` (midnight UTC) or an RFC 3339 time.

    Raises:
        Wrong: it is none of these.
    """
    try:
        if len(text) == 10 and text[4] == text[7] == "-":
            text += "T00:00:00Z"
        epoch_seconds(text)
        return text
    except ValueError:
        pass
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds(text)))
    except Wrong:
        raise Wrong(f"{text!r} is not a time. Write 5m, 2h or 3d for so long ago, 2026-11-24, or 2026-11-24T08:00:00Z") from None
