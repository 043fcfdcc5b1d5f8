"""A canary: the sample of partitions that a run does first, and the gates that must hold before it goes on to the rest.

Guarantees: a rule of a gate is a short text with one way to write it (`within 2%`), so a canonical document is its own canonical form;
what a rule means is decided here alone (`Rule.allows`), with no I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints, WithJsonSchema, with_config
from typing_extensions import TypedDict

from bushel.spec.fields import list_of_one
from bushel.spec.job import STRICT

SAMPLING, PASSED, FAILED, APPROVED = "sampling", "passed", "failed", "approved"
"""How far the canary of a run is: approved is one that a person let pass."""

SAMPLE_LIMIT = 10_000
"""Most partitions of a sample."""

RULE_PATTERN = r"^(within|at least|at most) -?[0-9]{1,18}(\.[0-9]{1,9})? ?%?$"
_RULE = re.compile(r"(within|at least|at most) +(-?[0-9]{1,18}(?:\.[0-9]{1,9})?) ?(%?)")


@dataclass(frozen=True, slots=True)
class Rule:
    """`within 2%`, `within 10`, `at least 1000`, `at most 0.1%`. A percentage is one of the last value; of a share, it is the share."""

    word: str
    number: Decimal
    percent: bool

    @classmethod
    def read(cls, text: str) -> Rule:
        """
        Raises:
            ValueError: it is none.
        """
        match = _RULE.fullmatch(" ".join(text.split())) if isinstance(text, str) else None
        if match is None:
            raise ValueError("not a rule. Write `within 2%`, `within 10`, `at least 1000` or `at most 0.1%`")
        number = Decimal(match[2])
        if match[1] == "within" and number < 0:
            raise ValueError("nothing is within less than nothing. Write `within 2%`")
        return cls(match[1], number, bool(match[3]))

    def __str__(self) -> str:
        return f"{self.word} {self.number.normalize():f}{'%' if self.percent else ''}"

    def compares(self, *, of_share: bool) -> bool:
        """Whether the last value decides."""
        return self.word == "within" or (self.percent and not of_share)

    def allows(self, measured: float, last: float, *, of_share: bool) -> bool:
        """Whether `measured` is as it says; `last` counts where it compares. Of a share `within 1%` is a hundredth of the whole."""
        number = float(self.number) / (100 if self.percent else 1)
        if not self.compares(of_share=of_share):
            return measured >= number if self.word == "at least" else measured <= number
        if self.word == "within":
            return abs(measured - last) <= (number * abs(last) if self.percent and not of_share else number)
        return measured >= number * last if self.word == "at least" else measured <= number * last


def _rule(value: Any) -> str:
    return str(Rule.read(value))


RuleText = Annotated[str, PlainValidator(_rule), WithJsonSchema({"type": "string", "pattern": RULE_PATTERN})]
Rules = Annotated[list[RuleText], BeforeValidator(list_of_one), Field(min_length=1, max_length=10)]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=520, pattern=r"^[^\x00-\x1f\x7f]*$")]
StageName = Annotated[str, StringConstraints(min_length=1, max_length=40)]
DataSetName = Annotated[str, StringConstraints(min_length=1, max_length=300)]


@with_config(STRICT)
class ColumnGates(TypedDict, total=False):
    """Of one column of a data set."""

    mean: Rules
    min: Rules
    max: Rules
    deviation: Annotated[Rules, Field(description="Standard deviation.")]
    count: Annotated[Rules, Field(description="Values that are there.")]
    nulls: Annotated[Rules, Field(description="Share of values that are missing: at most 1%.")]


@with_config(STRICT)
class Gates(TypedDict, total=False):
    """What must hold of what the sample made. `within` compares with the last version, over the same partitions."""

    rows: Annotated[Rules, Field(description="Records that it holds.")]
    bytes: Rules
    files: Rules
    schema: Annotated[
        Literal["same", "compatible"],
        Field(description="same: the very columns; compatible: all columns of the last version, with their types, and perhaps more."),
    ]
    columns: Annotated[dict[ColumnName, ColumnGates], Field(max_length=100)]


@with_config(STRICT)
class SampleGates(Gates, total=False):
    """Of every data set that the sample makes, and of the sample as a whole."""

    bad_records: Annotated[Rules, Field(description="Share of records that were set aside: at most 0.1%.")]
    failed: Annotated[Rules, Field(description="Partitions that failed. Default: at most 0.")]


@with_config(STRICT)
class Canary(TypedDict, total=False):
    """A sample that is done first: one of `count`, `share` and `partitions`. The rest is begun if every gate holds."""

    count: Annotated[int, Field(ge=1, le=SAMPLE_LIMIT, description="So many partitions, always the same.")]
    share: Annotated[float, Field(gt=0, le=1, description="Such a part of them.")]
    partitions: Annotated[list[Pattern], Field(min_length=1, max_length=1000, description="These: names, `2026-01-*`, or `a..b`.")]
    of: Annotated[StageName, Field(description="The partitions of this stage are sampled. Default: those of the pipeline.")]
    gates: SampleGates
    data_sets: Annotated[dict[DataSetName, Gates], Field(max_length=50, description="Further gates, of one data set each.")]
