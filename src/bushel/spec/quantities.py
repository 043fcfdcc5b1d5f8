"""Amounts as people write them: durations, sizes, CPU and accelerators.

Guarantees: each function takes what YAML or JSON can hold and gives one exact value in one unit, or raises `ValueError` with
a sentence that says what may be written instead. Whole values are integers, so equal amounts have equal documents.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ms|d|h|m|s))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)", re.ASCII)
_UNIT_SECONDS = {"d": Decimal(86400), "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}

_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?) ?([A-Za-z]{0,3})", re.ASCII)
_UNIT_BYTES = {"": 1, "B": 1, "k": 1000, "K": 1000, "kB": 1000, "KB": 1000, "Ki": 1024, "KiB": 1024}
for _power, _letter in enumerate("MGTP", start=2):
    _UNIT_BYTES |= {_letter: 1000**_power, f"{_letter}B": 1000**_power, f"{_letter}i": 1024**_power, f"{_letter}iB": 1024**_power}
_UNIT_IN_ANY_CASE = {unit.lower(): unit for unit in reversed(_UNIT_BYTES)}

_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)

DURATION_PATTERN = r"^\d+(\.\d+)?$|^(\d+(\.\d+)?(ms|d|h|m|s))+$"
SIZE_PATTERN = r"^\d+(\.\d+)? ?([kKMGTP]i?)?B?$"
CPU_PATTERN = r"^\d+(\.\d+)?$|^\d+m$"
GPU_PATTERN = r"^([A-Za-z0-9][A-Za-z0-9._-]*:)?\d+(\.\d+)?$|^[A-Za-z0-9][A-Za-z0-9._-]*$"

_LARGEST_BYTES = 2**62


def duration_seconds(value: Any) -> int | float:
    """`2h`, `1h30m`, `90s`, `500ms`, or a number of seconds. An integer where it is whole.

    Raises:
        ValueError: it is none of these.
    """
    if type(value) is int and 0 <= value < 10**12:
        return value
    if isinstance(value, float) and 0 <= value < 1e12:
        return _whole(round(value, 3))
    if isinstance(value, str):
        text = value.strip()
        if len(text) <= 64 and _DURATION.fullmatch(text):
            parts = _DURATION_PART.findall(text)
            return _whole(float(round(sum((Decimal(amount) * _UNIT_SECONDS[unit] for amount, unit in parts), Decimal(0)), 3)))
        if _NUMBER.fullmatch(text):
            return _whole(round(float(text), 3))
    raise ValueError("not a duration. Write 2h, 40m, 1h30m, or a number of seconds")


def size_bytes(value: Any) -> int:
    """`16GiB` (powers of 1024), `100GB` (powers of 1000), or a number of bytes.

    Raises:
        ValueError: it is none of these.
    """
    if type(value) is int and 0 <= value <= _LARGEST_BYTES:
        return value
    if isinstance(value, float) and value.is_integer() and 0 <= value <= _LARGEST_BYTES:
        return int(value)
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        amount, unit = match.groups()
        if unit in _UNIT_BYTES:
            size = round(Decimal(amount) * _UNIT_BYTES[unit])
            if size <= _LARGEST_BYTES:
                return size
        elif unit.lower() in _UNIT_IN_ANY_CASE:
            raise ValueError(f"{unit} is not a unit of size. Did you mean {amount}{_UNIT_IN_ANY_CASE[unit.lower()]}?")
    raise ValueError("not a size. Write 16GiB, 512MiB, 100GB, or a number of bytes")


def cpu_milli(value: Any) -> int:
    """Thousandths of a CPU from `4`, `0.5` or `500m`.

    Raises:
        ValueError: it is none of these, or is finer than a thousandth.
    """
    milli: Decimal | None = None
    if type(value) is int and 0 <= value < 10**9:
        return value * 1000
    if isinstance(value, float) and 0 <= value < 1e9:
        milli = Decimal(repr(value)) * 1000
    elif isinstance(value, str):
        text = value.strip()
        if text.endswith("m") and _NUMBER.fullmatch(text[:-1]):
            milli = Decimal(text[:-1])
        elif _NUMBER.fullmatch(text):
            milli = Decimal(text) * 1000
    if milli is None:
        raise ValueError("not an amount of CPU. Write 4, 0.5 or 500m")
    if milli != int(milli):
        raise ValueError("finer than a thousandth of a CPU")
    return int(milli)


def gpu_request(value: Any) -> Any:
    """The long form, `{"model": […], "count": …}`, of `H100:8`, `H100`, `8` or `"8"`; anything else is returned as it is.

    A number below one is a share of one accelerator: `0.25`, `A100:0.5`.

    Raises:
        ValueError: a text or number that has none of these forms.
    """
    if type(value) is int:
        return {"count": value}
    if isinstance(value, float):
        return _gpu_count(Decimal(repr(value))) if value == value and abs(value) < 1e9 else {"count": -1}
    if isinstance(value, str):
        model, colon, count = value.strip().rpartition(":")
        if not colon and _NUMBER.fullmatch(count):
            return _gpu_count(Decimal(count))
        if not colon and _MODEL.fullmatch(count):
            return {"model": [count], "count": 1}
        if colon and _MODEL.fullmatch(model) and _NUMBER.fullmatch(count):
            return {"model": [model], **_gpu_count(Decimal(count))}
        raise ValueError("not a request for accelerators. Write 8, H100:8, or {model: [H100, H200], count: 8}")
    return value


def _gpu_count(number: Decimal) -> dict[str, Any]:
    if number == int(number):
        return {"count": int(number)}
    if 0 < number < 1:
        return {"count": 1, "share": float(number)}
    raise ValueError(f"{number} accelerators: only a share of one may be a fraction")


def _whole(seconds: float) -> int | float:
    return int(seconds) if seconds == int(seconds) else seconds


def cores(milli: int) -> int | float:
    """Thousandths of a CPU as the number that a document holds."""
    return milli // 1000 if milli % 1000 == 0 else milli / 1000
