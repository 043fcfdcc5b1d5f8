"""The short names of jobs and attempts.

Guarantees: a job's number and its text are one-to-one, so no column holds the text; neighbours look unlike each
other; the alphabet (Crockford's base 32, lower case) has no letters that are read as digits.
"""

from __future__ import annotations

import re

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}
_SHORTEST, _LONGEST = 5, 12
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, hence invertible modulo any power of two (Knuth's multiplicative hashing)
_JOB_ID = re.compile(rf"[{_ALPHABET}]{{{_SHORTEST},{_LONGEST}}}")


def encode_job_id(number: int) -> str:
    """The text of a job's number (1, 2, …). Five letters for the first 33 million jobs.

    Raises:
        ValueError: the number is not positive or is past 2**60.
    """
    first = 0
    for width in range(_SHORTEST, _LONGEST + 1):
        size = 32**width
        if 0 < number < first + size:
            scrambled = (number - first) * _MULTIPLIER % size
            return "".join(_ALPHABET[scrambled >> shift & 31] for shift in range(5 * (width - 1), -1, -5))
        first += size
    raise ValueError(f"no job has the number {number}")


def decode_job_id(text: str) -> int:
    """The number behind a job's text.

    Raises:
        ValueError: no job can have this text.
    """
    if not _JOB_ID.fullmatch(text):
        raise ValueError(f"{text!r} is not a job id")
    width = len(text)
    scrambled = 0
    for letter in text:
        scrambled = scrambled << 5 | _VALUE[letter]
    first = sum(32**narrower for narrower in range(_SHORTEST, width))
    number = first + scrambled * pow(_MULTIPLIER, -1, 32**width) % 32**width
    if number == 0:
        raise ValueError(f"{text!r} is not a job id")
    return number


def attempt_id(job_number: int, index: int, number: int) -> str:
    """`k7q2m.17.2`: job, array index (0 for a job without an array), attempt counted from 1."""
    return f"{encode_job_id(job_number)}.{index}.{number}"


def parse_attempt_id(text: str) -> tuple[int, int, int]:
    """Job number, index, attempt number.

    Raises:
        ValueError: the text does not have that form.
    """
    job, _, rest = text.partition(".")
    index, _, number = rest.partition(".")
    if not (index.isascii() and index.isdigit() and number.isascii() and number.isdigit() and len(text) <= 40):
        raise ValueError(f"{text!r} is not an attempt id")
    return decode_job_id(job), int(index), int(number)
