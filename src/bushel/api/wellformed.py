"""JSON that everything behind the API can hold.

Guarantees: what passes is UTF-8, nested at most `MOST_DEPTH` deep, and has no NUL character, no half of a surrogate
pair and no number that is not finite, in keys or values; the problem points at the first places that break this. The
cost is linear in the length of the body, whatever is in it. Whether it is JSON at all is left to the parser.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from bushel.domain.errors import FieldProblem, InvalidDocument

MOST_DEPTH = 64
MOST_PROBLEMS = 100

_SUSPICIOUS = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]|NaN|Infinity|[\s:,\[]-?[0-9.]+[eE]\+?[0-9]{3}")
"""How a value that is not allowed can be written; allowed ones may look so too."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


def check_json(body: bytes) -> None:
    """
    Raises:
        InvalidDocument: see above.
    """
    if b"\0" in body:
        raise InvalidDocument([FieldProblem("", "JSON is written in UTF-8, without NUL characters")])
    if _deepest(body) > MOST_DEPTH or _SUSPICIOUS.search(body):
        problems = []
        try:
            document = json.loads(body)
        except RecursionError:
            problems.append(FieldProblem("", _TOO_DEEP))
        except ValueError:
            return
        else:
            for problem in _problems(document):
                problems.append(problem)
                if len(problems) == MOST_PROBLEMS:
                    break
        if problems:
            raise InvalidDocument(problems)


_TOO_DEEP = f"nested more than {MOST_DEPTH} deep"


def _deepest(body: bytes) -> int:
    """An upper bound when brackets are few, exact otherwise."""
    opened = body.count(b"[") + body.count(b"{")
    if opened <= MOST_DEPTH:
        return opened
    steps = _STRING.sub(b"", body).translate(_STEPS, _NOT_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def _problems(document: Any) -> Iterator[FieldProblem]:
    waiting: list[tuple[str, int, Any]] = [("", 0, document)]
    while waiting:
        pointer, depth, value = waiting.pop()
        if isinstance(value, str):
            if fault := _text_fault(value):
                yield FieldProblem(pointer, fault)
        elif isinstance(value, float):
            if not math.isfinite(value):
                yield FieldProblem(pointer, "not a finite number")
        elif isinstance(value, dict | list):
            if depth == MOST_DEPTH:
                yield FieldProblem(pointer, _TOO_DEEP)
                continue
            if isinstance(value, dict):
                for key in value:
                    if fault := _text_fault(key):
                        yield FieldProblem(pointer, f"a field's name {fault}")
                inside = [(f"{pointer}/{_escaped(key)}", depth + 1, item) for key, item in value.items()]
            else:
                inside = [(f"{pointer}/{position}", depth + 1, item) for position, item in enumerate(value)]
            waiting.extend(reversed(inside))


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "has a NUL character, which no text may have"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which is no character"
    return None


def _escaped(key: str) -> str:
    """As part of a JSON pointer that can be sent."""
    return key.encode("utf-8", "replace").decode().replace("\0", "?").replace("~", "~0").replace("/", "~1")
