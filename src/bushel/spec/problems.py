"""What is wrong with a document, in plain sentences that name the field and, where one is near, the right one.

Guarantees: every problem of a document is reported at once, up to `MOST_PROBLEMS`; each carries a JSON pointer (RFC 6901) into the
document as it was sent, and a sentence that needs no knowledge of how it is checked.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import ValidationError

from bushel.domain.errors import FieldProblem

MOST_PROBLEMS = 100
"""Most problems reported for one request."""

TEXT_TAG, LIST_TAG = "\x1ftext", "\x1flist"
"""Which form of a field with two forms was meant; part of where an error is, never of a pointer."""

FieldsAt = Mapping[tuple[str, ...], Sequence[str]]
"""Place in a document (a list's items are `*`) → the fields it may have."""

ALIASES = {
    "args": "run", "cmd": "run", "command": "run", "entrypoint": "run", "script": "run", "container": "image", "cpus": "cpu",
    "dependencies": "after", "depends_on": "after", "environment": "env", "gpus": "gpu", "mem": "memory", "partition": "queue",
    "records": "rows", "replicas": "count", "retries": "retry", "timeout": "time_limit", "walltime": "time_limit", "working_dir": "workdir",
}  # fmt: skip
"""What other systems call our fields."""


def pointer(parts: Iterable[str | int]) -> str:
    """The JSON pointer of a place; the empty string is the whole document."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def field_problems(error: ValidationError, fields_at: FieldsAt, prefix: Sequence[str | int] = ()) -> list[FieldProblem]:
    """The problems behind `error`; `prefix` is where the document lies in what was sent, such as `("jobs", 17)`."""
    return detail_problems(error.errors(include_url=False), fields_at, prefix)


def detail_problems(details: Iterable[Mapping[str, Any]], fields_at: FieldsAt, prefix: Sequence[str | int] = ()) -> list[FieldProblem]:
    """As `field_problems`, of what `ValidationError.errors()` lists."""
    problems: list[FieldProblem] = []
    for detail in islice(details, MOST_PROBLEMS):
        kind, context = detail["type"], detail.get("ctx", {})
        loc = detail["loc"]
        if kind == "extra_forbidden":  # its last part is what was written, however it looks
            place = (*_place(loc[:-1]), *loc[-1:])
            problems.append(_unknown_field(pointer((*prefix, *place)), place, fields_at))
        else:
            place = _place(loc)
            is_key = bool(place) and place[-1] == "[key]"
            if is_key:
                place = place[:-1]
            where = pointer((*prefix, *place))
            sentence = _sentence(kind, context, detail["input"])
            problems.append(FieldProblem(where, f"the name {_shown(place[-1])} {sentence}" if is_key else sentence, _code(kind)))
    return problems


def _place(loc: Sequence[str | int]) -> tuple[str | int, ...]:
    return tuple(part for part in loc if part not in (TEXT_TAG, LIST_TAG))


def _unknown_field(where: str, place: tuple[str | int, ...], fields_at: FieldsAt) -> FieldProblem:
    written = str(place[-1])
    parent = tuple("*" if isinstance(part, int) else part for part in place[:-1])
    near = nearest_field(written, parent, fields_at)
    if near is None:
        return FieldProblem(where, "unknown field", "unknown_field")
    return FieldProblem(where, f"unknown field. Did you mean `{near}`?", "unknown_field", near)


def nearest_field(written: str, parent: tuple[str, ...], fields_at: FieldsAt) -> str | None:
    """The valid field that was probably meant, as a dotted path from `parent`, or from the top when it belongs elsewhere."""
    written = written.lower().replace("-", "_")[:64]
    here = fields_at.get(parent, ())
    for candidate in (written, ALIASES.get(written)):
        if candidate in here:
            return candidate
    close = difflib.get_close_matches(written, here, n=1, cutoff=0.7)
    if close:
        return close[0]
    wanted = ALIASES.get(written, written)
    for place, fields in fields_at.items():
        if wanted in fields and "*" not in place:
            return ".".join((*place, wanted))
    close = difflib.get_close_matches(written, here, n=1, cutoff=0.5)
    return close[0] if close else None


_KINDS = {
    "string_type": "a text",
    "dict_type": "a mapping of fields",
    "list_type": "a list",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "datetime_type": "a time such as 2030-01-31T00:00:00Z",
    "datetime_parsing": "a time such as 2030-01-31T00:00:00Z",
    "datetime_from_date_parsing": "a time such as 2030-01-31T00:00:00Z",
    "timezone_aware": "a time with its zone, such as 2030-01-31T00:00:00Z",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
}


def _sentence(kind: str, context: Mapping[str, Any], value: Any) -> str:
    if kind == "value_error":
        return str(context["error"])
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {_described(value)}"
    if kind == "missing":
        return "is needed here"
    if kind in ("literal_error", "enum"):
        return f"must be one of {context['expected']}".replace("'", "")
    if kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        limit = next(iter(context.values()))
        return f"must be {_COMPARISONS[kind]} {limit:g}, not {_shown(value)}"
    if kind.startswith("decimal_"):
        places = context.get("decimal_places")
        return f"has more than {places} decimal places" if places is not None else f"must be a number such as 0.04, not {_shown(value)}"
    if kind in ("string_too_long", "too_long"):
        what = "characters" if kind == "string_too_long" else "entries"
        count = len(value) if hasattr(value, "__len__") else "too many"
        return f"has {count} {what}; the most is {context['max_length']}"
    if kind in ("string_too_short", "too_short"):
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        if isinstance(value, str) and "\0" in value:
            return "has a NUL byte, which no text may have"
        return "may not have this form. " + _PATTERNS.get(context["pattern"], f"It must match {context['pattern']}")
    if kind == "string_unicode":
        return "is not text that can be written as UTF-8"
    if kind == "invalid_key":
        return "must have a text as its name"
    if kind == "finite_number":
        return "must be a finite number"
    if kind == "recursion_loop":
        return "contains itself"
    return "is not valid here"


_COMPARISONS = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most", "less_than": "less than"}

_PATTERNS = {
    r"^[^\x00-\x1f\x7f-\x9f]*$": "Leave out line breaks, tabs and other control characters",
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$": "Use lower-case letters, digits and '-', and begin and end with a letter or digit",
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,2}$": (
        "Write organisation/team/project in lower case, such as acme/research/vision"
    ),
    r"^[a-z0-9][a-z0-9._@-]*$": "Use lower-case letters, digits, '.', '_', '@' and '-', and begin with a letter or digit",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "Use letters, digits, '.', '_' and '-', and begin with a letter or digit",
    r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$": "Use letters, digits, '.', '_', '-' and '/', and begin and end with a letter or digit",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "Use letters, digits and '_', and do not begin with a digit",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$": "Write a path such as acme/research/vision",
    r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$": "Write an image such as registry.example/train:1.2 or …@sha256:…",
}

_DATASET_SEGMENT = "[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?"
_PATTERNS[f"^{_DATASET_SEGMENT}(/{_DATASET_SEGMENT}){{0,4}}$"] = (
    "Write a name such as drive/frames: lower-case letters, digits, '.', '_', '-'"
)

_CODES = {"missing": "missing", "too_long": "too_long", "string_too_long": "too_long"}


def _code(kind: str) -> str:
    return _CODES.get(kind, "invalid")


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return _shown(value)


def _shown(value: Any) -> str:
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else text[:57] + "…"
