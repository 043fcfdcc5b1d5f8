"""The single values of documents: how each is written, its limits, and the value it comes to.

Guarantees: a value that passes is an exact number in one unit or a text without NUL bytes, within the limits named here; one
that does not is refused with a sentence that says what may be written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_plain_validator_function

from bushel.domain.job import PRIORITY_NAMES
from bushel.domain.ranges import IndexRanges
from bushel.spec import quantities
from bushel.spec.problems import LIST_TAG, TEXT_TAG

RUN_LIMIT_BYTES = 100_000
ENVIRONMENT_LIMIT_BYTES = 200_000
LABELS_LIMIT = 64
ARRAY_INDEX_LIMIT = 10_000_000
TIME_LIMIT_LONGEST_SECONDS = 366 * 86400
CPU_LIMIT_MILLI = 10_000_000
MEMORY_LEAST_BYTES = 1024**2
GRACE_LIMIT_SECONDS = 3600
BACKOFF_LIMIT_SECONDS = 86400

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT")


@dataclass(frozen=True, slots=True)
class Duration:
    """A field in seconds, `2h` or a number, from `least` to `most`."""

    least: float
    most: float

    def validate(self, value: Any) -> int | float:
        seconds = quantities.duration_seconds(value)
        if not self.least <= seconds <= self.most:
            raise ValueError(f"{seconds} seconds is not between {self.least} and {self.most} seconds")
        return seconds

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": ["string", "number"], "pattern": quantities.DURATION_PATTERN, "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Size:
    """A field in bytes, `16GiB` or a number, from `least` on."""

    least: int

    def validate(self, value: Any) -> int:
        size = quantities.size_bytes(value)
        if size < self.least:
            raise ValueError(
                f"{size} bytes is less than the least, {self.least // 2**20} MiB. A number alone is bytes: write 16GiB or 512MiB"
            )
        return size

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": ["string", "integer"], "pattern": quantities.SIZE_PATTERN, "minimum": self.least, "maximum": 2**62}


def _cpu(value: Any) -> int | float:
    milli = quantities.cpu_milli(value)
    if not 1 <= milli <= CPU_LIMIT_MILLI:
        raise ValueError(f"not between 0.001 and {CPU_LIMIT_MILLI // 1000} CPUs")
    return quantities.cores(milli)


def _priority(value: Any) -> int:
    if type(value) is int and 0 <= value <= 1000:
        return value
    if isinstance(value, str) and value in PRIORITY_NAMES:
        return PRIORITY_NAMES[value]
    raise ValueError("not a priority. Write low, normal, high, or a number from 0 to 1000")


def _array(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 100_000:
        raise ValueError('not a set of indices. Write "0-999", "0-999%50" (at most 50 at a time) or "3,7,20-29"')
    ranges, limit = split_array(value)
    return f"{ranges}%{limit}" if limit else str(ranges)


def split_array(text: str) -> tuple[IndexRanges, int | None]:
    """The indices of an array, and how many may be live at once.

    Raises:
        ValueError: it has another form than `0-99`, `0-99%10`, `3,7,20-29`, or an index is past the limit.
    """
    indices, percent, limit = text.partition("%")
    ranges = IndexRanges.parse(indices)
    if ranges.parts[-1][1] > ARRAY_INDEX_LIMIT:
        raise ValueError(f"an index of an array is at most {ARRAY_INDEX_LIMIT - 1}")
    if not percent:
        return ranges, None
    if not re.fullmatch(r"[1-9]\d{0,7}", limit.strip(), re.ASCII):
        raise ValueError("after the % stands how many indices may be live at once, 1 or more")
    return ranges, int(limit)


def _environment_value(value: Any) -> Any:
    if type(value) is int:
        return str(value)
    if isinstance(value, bool | float):
        raise ValueError("not a text. Put it in quotes, so that it is passed on as it is written")
    return value


def _signal(value: Any) -> str:
    name = value if not isinstance(value, str) or value.startswith("SIG") else f"SIG{value}"
    if name not in SIGNALS:
        raise ValueError(f"not a signal that a task can be sent as a notice. Write one of {', '.join(SIGNALS)}")
    return name


def _bytes_limited(limit: int) -> AfterValidator:
    def validate(text: str) -> str:
        if len(text) * 4 > limit and len(text.encode()) > limit:
            raise ValueError(f"{len(text.encode())} bytes; the limit is {limit}. Put long programs into the workdir")
        return text

    return AfterValidator(validate)


def list_of_one(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def unique(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("the same value stands here twice")
    return values


def _by_kind(value: Any) -> str:
    return LIST_TAG if isinstance(value, list | tuple) else TEXT_TAG


_NO_NUL = r"^[^\x00]*$"
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"
Name = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ScopePath = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")
]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$")]
LabelValue = Annotated[str, BeforeValidator(_environment_value), StringConstraints(max_length=255, pattern=_NO_CONTROLS)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=LABELS_LIMIT)]
VariableName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
VariableValue = Annotated[str, BeforeValidator(_environment_value), StringConstraints(max_length=100_000, pattern=_NO_NUL)]
Environment = Annotated[dict[VariableName, VariableValue], Field(max_length=1000)]
ShellText = Annotated[str, StringConstraints(min_length=1, max_length=RUN_LIMIT_BYTES, pattern=_NO_NUL), _bytes_limited(RUN_LIMIT_BYTES)]
Argument = Annotated[str, StringConstraints(max_length=RUN_LIMIT_BYTES, pattern=_NO_NUL), _bytes_limited(RUN_LIMIT_BYTES)]
Arguments = Annotated[list[Argument], Field(min_length=1, max_length=10_000)]
Run = Annotated[Annotated[ShellText, Tag(TEXT_TAG)] | Annotated[Arguments, Tag(LIST_TAG)], Discriminator(_by_kind)]
Image = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$")]
Workdir = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=_NO_NUL)]
Model = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
JobReference = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Level = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Names = Annotated[list[Name], Field(max_length=100), AfterValidator(unique)]
Cpu = Annotated[
    float,
    PlainValidator(_cpu),
    WithJsonSchema({"type": ["string", "number"], "pattern": quantities.CPU_PATTERN, "minimum": 0.001, "maximum": CPU_LIMIT_MILLI / 1000}),
]
Priority = Annotated[
    int,
    PlainValidator(_priority),
    WithJsonSchema({"anyOf": [{"enum": list(PRIORITY_NAMES)}, {"type": "integer", "minimum": 0, "maximum": 1000}]}),
]
ArrayText = Annotated[
    str, PlainValidator(_array), WithJsonSchema({"type": "string", "pattern": r"^\d+(-\d+(:\d+)?)?( ?, ?\d+(-\d+(:\d+)?)?)*(%[1-9]\d*)?$"})
]
Signal = Annotated[str, PlainValidator(_signal), WithJsonSchema({"enum": [*SIGNALS, *(name.removeprefix("SIG") for name in SIGNALS)]})]
FailureClassName = Literal["application", "infrastructure", "preempted", "deadline", "data", "quota", "cancelled", "unknown"]
