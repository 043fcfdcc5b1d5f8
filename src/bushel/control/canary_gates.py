"""Judging a sample: every gate of a canary, with what was measured and what the last version has.

Guarantees: pure, and total: every gate of the document gets an outcome. A gate that compares holds where there is nothing to compare
with (no earlier version, or none of these partitions in it), and says so; one of a column that nobody has does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bushel.domain.words import plural
from bushel.spec.canary import Rule
from bushel.spec.manifest import Total, moments

NOTHING_TO_COMPARE = "nothing to compare with"
AMOUNTS = {"rows": "records", "bytes": "bytes", "files": "files"}
"""Measure → what it is called in a manifest."""

DIFFERENCES_SHOWN = 5
DEFAULT_GATES: Mapping[str, Any] = {"failed": ["at most 0"]}


@dataclass(slots=True)
class Measured:
    """What the sample made of one data set, and what the last version has of the same partitions."""

    whole: Total
    version: int | None = None  # the last one
    both: int = 0  # partitions that are in the last version too
    new: Total = field(default_factory=Total)  # of those
    old: Total = field(default_factory=Total)
    described: int = 0  # those of them of which the schema and statistics in the last version are known
    new_described: Total = field(default_factory=Total)
    old_described: Total = field(default_factory=Total)


@dataclass(frozen=True, slots=True)
class SampleCounts:
    partitions: int
    failed: int
    records: int
    bad: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one gate. `partitions`: over how many the two values were taken."""

    gate: str
    holds: bool
    measured: float | str | None
    last: float | str | None = None
    version: int | None = None
    partitions: int = 0
    note: str | None = None

    def told(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def judge(canary: Mapping[str, Any], made: Mapping[str, Measured], counts: SampleCounts) -> list[Outcome]:
    """`made` by data set."""
    gates = {**DEFAULT_GATES, **canary.get("gates", {})}
    share_bad = counts.bad / counts.records if counts.records else 0.0
    outcomes = [_absolute("failed partitions", text, counts.failed, counts.partitions) for text in gates["failed"]]
    outcomes += [_absolute("bad records", text, share_bad, counts.partitions, of_share=True) for text in gates.get("bad_records", ())]
    for name, measured in made.items():
        outcomes += _of_data_set(name, gates, measured, own=False)
        outcomes += _of_data_set(name, canary.get("data_sets", {}).get(name, {}), measured, own=True)
    for column in gates.get("columns", {}):
        if not any(
            column in each.whole.statistics["columns"] or column in each.old_described.statistics["columns"] for each in made.values()
        ):
            outcomes.append(Outcome(f"column {column}", False, None, note="no data set of the sample has this column"))
    return outcomes


def gates_told(canary: Mapping[str, Any]) -> list[str]:
    """Every gate that a canary states, each in a few words."""
    told = [f"failed partitions {text}" for text in canary.get("gates", {}).get("failed", DEFAULT_GATES["failed"])]
    told += [f"bad records {text}" for text in canary.get("gates", {}).get("bad_records", ())]
    for where, gates in (("", canary.get("gates", {})), *((f" of {name}", own) for name, own in canary.get("data_sets", {}).items())):
        told += [f"{measure}{where} {text}" for measure in AMOUNTS for text in gates.get(measure, ())]
        told += [f"schema{where} {gates['schema']}"] if "schema" in gates else []
        for column, rules in gates.get("columns", {}).items():
            told += [f"{measure} of {column}{where.replace(' of', ' in')} {text}" for measure, texts in rules.items() for text in texts]
    return told


def _absolute(what: str, text: str, value: float, partitions: int, *, of_share: bool = False) -> Outcome:
    """Of the sample as a whole, which is compared with nothing."""
    rule = Rule.read(text)
    if rule.compares(of_share=of_share):
        return Outcome(f"{what} {text}", True, value, partitions=partitions, note=NOTHING_TO_COMPARE)
    return Outcome(f"{what} {text}", rule.allows(value, 0.0, of_share=of_share), value, partitions=partitions)


def _of_data_set(name: str, gates: Mapping[str, Any], measured: Measured, *, own: bool) -> Iterator[Outcome]:
    for measure, key in AMOUNTS.items():
        for text in gates.get(measure, ()):
            last = measured.old.counts[key] if measured.both else None
            compared = measured.new.counts[key]
            yield _compared(f"{measure} of {name}", text, measured, measured.whole.counts[key], compared, last, measured.both)
    if "schema" in gates:
        yield _schema(name, gates["schema"], measured)
    for column, rules in gates.get("columns", {}).items():
        if own or column in measured.whole.statistics["columns"] or column in measured.old_described.statistics["columns"]:
            yield from _column(name, column, rules, measured)


def _column(name: str, column: str, rules: Mapping[str, Sequence[str]], measured: Measured) -> Iterator[Outcome]:
    whole, new, old = (
        _values(total.statistics["columns"].get(column)) for total in (measured.whole, measured.new_described, measured.old_described)
    )
    for measure, texts in rules.items():
        for text in texts:
            what = f"{measure} of {column} in {name}"
            value = whole[measure]
            if value is None or (old[measure] is not None and new[measure] is None):
                yield Outcome(f"{what} {text}", False, None, old[measure], measured.version, measured.described, "it has no such values")
            else:
                share = measure == "nulls"
                yield _compared(what, text, measured, value, new[measure], old[measure], measured.described, of_share=share)


def _values(column: Mapping[str, Any] | None) -> dict[str, float | None]:
    if column is None:
        return dict.fromkeys(("mean", "min", "max", "deviation", "count", "nulls"))
    mean, deviation = moments(column)
    total = column["count"] + column["nulls"]
    return {
        **{"mean": mean, "deviation": deviation, "min": column["min"], "max": column["max"], "count": column["count"]},
        "nulls": column["nulls"] / total if total else None,
    }


def _compared(
    what: str,
    text: str,
    measured: Measured,
    whole: float,
    compared: float | None,
    last: float | None,
    partitions: int,
    *,
    of_share: bool = False,
) -> Outcome:
    """A rule that compares is about the partitions that both have, another about the whole sample."""
    rule = Rule.read(text)
    if not rule.compares(of_share=of_share):
        return Outcome(f"{what} {text}", rule.allows(whole, 0.0, of_share=of_share), whole, last, measured.version, partitions)
    if last is None or compared is None:
        return Outcome(f"{what} {text}", True, whole, note=NOTHING_TO_COMPARE)
    return Outcome(f"{what} {text}", rule.allows(compared, last, of_share=of_share), compared, last, measured.version, partitions)


def _schema(name: str, wanted: str, measured: Measured) -> Outcome:
    gate = f"schema of {name} {wanted}"
    if not measured.described:
        return Outcome(gate, True, None, note=NOTHING_TO_COMPARE)
    new, old = measured.new_described.schema, measured.old_described.schema
    names = [column for column in sorted({*new, *old}) if new.get(column) != old.get(column)]
    broken = names if wanted == "same" else [column for column in names if column in old]
    if not broken:
        return Outcome(gate, True, plural(len(new), "column"), plural(len(old), "column"), measured.version, measured.described)
    told = [", ".join(f"{column}: {schema.get(column, 'none')}" for column in broken[:DIFFERENCES_SHOWN]) for schema in (new, old)]
    return Outcome(gate, False, told[0], told[1], measured.version, measured.described)


def sentence(outcomes: Sequence[Outcome], *, total: int, pipeline: str, run: int) -> str | None:
    """Why the run stops, and what to do; None where every gate holds."""
    broken = [one for one in outcomes if not one.holds]
    if not broken:
        return None
    first = broken[0]
    if first.measured is None:
        found = first.note or "there is nothing"
    elif first.last is None:
        found = f"it is {_number(first.measured)}"
    else:
        before = f"{_number(first.last)} in version {first.version}"
        found = f"it is {_number(first.measured)}, and {before}, over the same {plural(first.partitions, 'partition')}"
    more = f"; of {len(outcomes)} gates {len(broken)} do not hold" if len(broken) > 1 else ""
    rest = f"{plural(total, 'partition')} {'was' if total == 1 else 'were'} not begun. " if total else ""
    return (
        f"the canary's gate `{first.gate}` does not hold: {found}{more}. {rest}"
        f"Mend and apply it, or let it pass: bushel pipeline approve {pipeline} --run {run} --message WHY"
    )


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
