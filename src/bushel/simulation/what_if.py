"""What would have been different: the past of an installation under other rules, and how sure that is.

Guarantees: all variants meet the same jobs in the same sample, so a difference is of the variants alone. The first sample is what
happened; each further one draws blocks of it with replacement, by a seed of its own (moving-block bootstrap; Künsch 1989), so what depends
on a few hours of luck differs from sample to sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bushel.simulation.report import Summary, aligned, span
from bushel.simulation.trace import TraceJob

BLOCKS = 24
"""Of a day an hour each: long enough to keep bouts together, many enough to differ."""
_HOUR = 3600.0


def resampled(jobs: Sequence[TraceJob], sample: int) -> list[TraceJob]:
    """Sample 0 is the jobs as they were."""
    if sample == 0 or not jobs or jobs[-1].arrival_seconds <= 0:
        return list(jobs)
    block = jobs[-1].arrival_seconds / BLOCKS
    of_block = [min(BLOCKS - 1, int(job.arrival_seconds / block)) for job in jobs]
    members: list[list[TraceJob]] = [[] for _ in range(BLOCKS)]
    for job, number in zip(jobs, of_block, strict=True):
        members[number].append(job)
    drawn = np.random.default_rng([sample]).integers(BLOCKS, size=BLOCKS).tolist()
    moved = [
        replace(job, arrival_seconds=max(0.0, job.arrival_seconds + (place - source) * block))
        for place, source in enumerate(drawn)
        for job in members[source]
    ]
    moved.sort(key=lambda job: (job.arrival_seconds, job.id))
    return [replace(job, id=at) for at, job in enumerate(moved, start=1)]


@dataclass(frozen=True, slots=True)
class Measure:
    """`shown` makes a text of a value; of a difference, with a sign."""

    name: str
    of: Callable[[Summary], float]
    shown: Callable[[float], str]


MEASURES = (
    Measure("use of the scarce resource", lambda s: s.utilisation_while_arriving, lambda v: f"{v:.1%}"),
    Measure("wait: mean", lambda s: s.wait[0], span),
    Measure("wait: 90 %", lambda s: s.wait[2], span),
    Measure("completion: mean", lambda s: s.completion[0], span),
    Measure("Jain's index of shares held", lambda s: s.share_index, lambda v: f"{v:.3f}"),
    Measure("preemptions", lambda s: float(s.preemptions), lambda v: f"{v:,.0f}"),
    Measure("work lost, task hours", lambda s: s.lost_seconds / _HOUR, lambda v: f"{v:,.1f}"),
    Measure("jobs that never end", lambda s: float(s.jobs - s.ended), lambda v: f"{v:,.0f}"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one measure between a variant and the first: over samples its mean, least and most. `sure`: of one sign in all."""

    mean: float
    least: float
    most: float

    @property
    def sure(self) -> bool:
        return self.least > 0 or self.most < 0

    @classmethod
    def of(cls, before: Sequence[float], after: Sequence[float]) -> Difference:
        gaps = [b - a for a, b in zip(before, after, strict=True) if not math.isnan(a + b)]
        return cls(math.fsum(gaps) / len(gaps), min(gaps), max(gaps)) if gaps else cls(0.0, 0.0, 0.0)


def records(names: Sequence[str], runs: Sequence[Sequence[Summary]]) -> list[dict[str, object]]:
    """For programs: a record a variant, `runs` by variant and sample."""
    found: list[dict[str, object]] = []
    for name, summaries in zip(names, runs, strict=True):
        measures: dict[str, object] = {}
        for measure in MEASURES:
            values = [measure.of(summary) for summary in summaries]
            gap = Difference.of([measure.of(summary) for summary in runs[0]], values)
            measures[measure.name] = {
                "samples": [None if math.isnan(value) else value for value in values],
                "difference": gap.mean,
                "least": gap.least,
                "most": gap.most,
                "sure": gap.sure,
            }
        found.append({"variant": name, "measures": measures})
    return found


def table(names: Sequence[str], runs: Sequence[Sequence[Summary]]) -> str:
    """Means of the variants side by side; under each but the first its difference from that, with its spread over the samples."""
    rows = [["", *names]]
    for measure in MEASURES:
        values = [[measure.of(summary) for summary in summaries] for summaries in runs]
        rows.append([measure.name, *(measure.shown(_mean(of_variant)) for of_variant in values)])
        gaps = [Difference.of(values[0], of_variant) for of_variant in values[1:]]
        if any(gap.least or gap.most for gap in gaps):
            rows.append(["  difference", "", *(_signed(measure, gap.mean) + (" *" if gap.sure else "  ") for gap in gaps)])
            if len(runs[0]) > 1:
                rows.append(["  from … to", "", *(f"{_signed(measure, gap.least)} … {_signed(measure, gap.most)}  " for gap in gaps)])
    note = "* of the same sign in every sample" if len(runs[0]) > 1 else "one sample says nothing of how sure a difference is: --seeds 5"
    return f"{aligned(rows)}\n\n{note}"


def _signed(measure: Measure, value: float) -> str:
    return ("+" if value > 0 else "−" if value < 0 else "") + measure.shown(abs(value))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
