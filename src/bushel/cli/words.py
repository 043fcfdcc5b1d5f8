"""Numbers, times and names as people read them.

Guarantees: plurals are right, numbers have units, and nothing that somebody else wrote can move the cursor or change colours.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 job`, `2 jobs`, `1,000 indices`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`: the two largest units."""
    if seconds < 0:
        return "0 s"
    if 0 < seconds < 0.05:
        return "less than 0.1 s"
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    left = int(seconds + 0.5)
    parts = []
    for unit, size in _UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def short_duration(seconds: float) -> str:
    """`12 s`, `3 min`, `2 h`: one unit."""
    seconds = max(0, int(seconds + 0.5))
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return "0 s"


def size(count: float) -> str:
    """`0 B`, `512 B`, `1.5 GiB`, `31 GiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    index = 0
    while abs(count) >= 1024 and index < len(units) - 1:
        count /= 1024
        index += 1
    text = f"{count:.0f}" if index == 0 or count >= 100 or count == int(count) else f"{count:.1f}"
    return f"{text} {units[index]}"


def amount(name: str, quantity: float) -> str:
    """An amount in its smallest unit: `4 cpu`, `16 GiB memory`, `8 H100`."""
    if name in ("memory", "disk"):
        return f"{size(quantity)} {name}"
    text = f"{quantity / 1000:g}"
    return f"{text} {name.removeprefix('gpu/')}"


def amounts(quantities: Mapping[str, float]) -> str:
    """`8 cpu · 31 GiB memory`; nothing for none."""
    order = {"cpu": 0, "memory": 1, "disk": 3}
    names = sorted(quantities, key=lambda name: (order.get(name, 2), name))
    return " · ".join(amount(name, quantities[name]) for name in names if quantities[name])


def short_amounts(quantities: Mapping[str, float]) -> str:
    """`1.6 cpu · 0 B · 8 H100`, for columns: without disk, and what there is none of is said too."""
    parts = [amount("cpu", quantities.get("cpu", 0)), size(quantities.get("memory", 0))]
    return " · ".join(parts + [amount(name, quantities[name]) for name in sorted(quantities) if name.startswith("gpu/")])


def epoch_seconds(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time.

    Raises:
        ValueError: it is none.
    """
    if len(text) < 20 or text[10] not in "Tt ":
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    year, month, day = int(text[0:4]), int(text[5:7]), int(text[8:10])
    clock, offset = text[11:], 0
    if clock[-1] in "Zz":
        clock = clock[:-1]
    else:
        at = max(clock.rfind("+"), clock.rfind("-"))
        sign = -1 if clock[at] == "-" else 1
        offset = sign * (int(clock[at + 1 : at + 3]) * 3600 + int(clock[at + 4 : at + 6]) * 60)
        clock = clock[:at]
    hours, minutes, seconds = clock.split(":")
    # Days since 1970 in the Gregorian calendar, years beginning in March so that a leap day comes last.
    shifted = year - (month < 3)
    days = 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719469
    return days * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds) - offset


def ago(text: str | None, now: float | None = None) -> str:
    """`3 min ago`, `in 2 h`; `–` for no time."""
    if not text:
        return "–"
    seconds = (time.time() if now is None else now) - epoch_seconds(text)
    if seconds < -1:
        return f"in {short_duration(-seconds)}"
    return "just now" if seconds < 1 else f"{short_duration(seconds)} ago"


def clock(text: str, *, today: bool = True) -> str:
    """`12:58:03` of today, `2026-11-23 12:58:03` of another day, in local time."""
    at = time.localtime(epoch_seconds(text))
    if today and time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", at):
        return time.strftime("%H:%M:%S", at)
    return time.strftime("%Y-%m-%d %H:%M:%S", at)


def plain(text: object) -> str:
    """One line of text without control characters."""
    given = str(text)
    if given.isascii() and given.isprintable():
        return given
    return "".join(letter if letter.isprintable() else _visible(letter) for letter in given)


def _visible(letter: str) -> str:
    return " " if letter in "\n\r\t" else "\N{REPLACEMENT CHARACTER}"


def width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) != 0 for letter in text)


def shorten(text: str, columns: int) -> str:
    """At most so many columns, with an ellipsis for what was cut."""
    if width(text) <= columns:
        return text
    if columns <= 1:
        return "…"[:columns]
    kept = text[: columns - 1]
    while width(kept) > columns - 1:
        kept = kept[:-1]
    return kept + "…"
