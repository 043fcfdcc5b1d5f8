"""What a run came to, for people: a row a run, and what each queue held beside what it was entitled to.

Guarantees: the same outcomes give the same bytes; percentiles are nearest-rank, so they are times that really occurred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bushel.simulation.measures import Outcomes

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Summary:
    """Times in seconds, of jobs that ended. `index` is Jain's, over queues, of what each held for what it was entitled to."""

    setting: str
    jobs: int
    ended: int
    failed: int
    utilisation: float
    utilisation_while_arriving: float
    wait: tuple[float, float, float, float]  # mean, median, 90 %, 99 %
    completion: tuple[float, float, float, float]
    index: float
    share_index: float
    fragmentation: float
    preemptions: int
    lost_seconds: float
    makespan: float
    plans: int

    @classmethod
    def of(cls, outcomes: Outcomes) -> Summary:
        ended = [job for job in outcomes.jobs if not math.isnan(job.end)]
        begun = [job.wait for job in outcomes.jobs if not math.isnan(job.first_start)]
        return cls(
            outcomes.setting,
            len(outcomes.jobs),
            len(ended),
            sum(job.state == "failed" for job in outcomes.jobs),
            outcomes.utilisation,
            outcomes.utilisation_while_arriving,
            _spread(begun),
            _spread([job.completion for job in ended]),
            jain([queue.held / queue.entitled for queue in outcomes.queues if queue.entitled > 0]),
            jain([queue.share for queue in outcomes.queues]),
            _mean([sample.fragmented for sample in outcomes.samples]),
            sum(job.preemptions for job in outcomes.jobs),
            sum(job.lost_seconds for job in outcomes.jobs),
            outcomes.seconds,
            outcomes.plans,
        )


def jain(values: Sequence[float]) -> float:
    """1: all alike; one over their number: one has everything (Jain 1984)."""
    squares = len(values) * sum(value * value for value in values)
    return sum(values) ** 2 / squares if squares else 1.0


_ROWS = (
    ("jobs", lambda s: f"{s.jobs:,}"),
    ("  failed, not ended", lambda s: f"{s.failed:,}, {s.jobs - s.ended:,}"),
    ("use of the scarce resource", lambda s: f"{s.utilisation:.1%}"),
    ("  while jobs arrived", lambda s: f"{s.utilisation_while_arriving:.1%}"),
    ("wait: mean", lambda s: span(s.wait[0])),
    ("  median, 90 %, 99 %", lambda s: ", ".join(span(value) for value in s.wait[1:])),
    ("completion: mean", lambda s: span(s.completion[0])),
    ("  median, 90 %, 99 %", lambda s: ", ".join(span(value) for value in s.completion[1:])),
    ("Jain's index of service", lambda s: f"{s.index:.3f}"),
    ("  of shares held", lambda s: f"{s.share_index:.3f}"),
    ("free on nodes partly used", lambda s: f"{s.fragmentation:.1%}"),
    ("preemptions", lambda s: f"{s.preemptions:,}"),
    ("work lost, task hours", lambda s: f"{s.lost_seconds / _HOUR:,.1f}"),
    ("until everything ended", lambda s: span(s.makespan)),
    ("plans", lambda s: f"{s.plans:,}"),
)


def table(runs: Sequence[Outcomes]) -> str:
    """The runs side by side, then their queues."""
    summaries = [Summary.of(run) for run in runs]
    lines = [["", *(summary.setting for summary in summaries)]]
    lines += [[name, *(cell(summary) for summary in summaries)] for name, cell in _ROWS]
    text = aligned(lines)
    names = sorted({queue.name for run in runs for queue in run.queues})
    held = [{queue.name: queue for queue in run.queues} for run in runs]
    rows = [["mean part of its entitlement", *(run.setting for run in runs)]]
    rows += [[f"  {name}", *(f"{queues[name].share:.1%}" if name in queues else "" for queues in held)] for name in names[:40]]
    if len(names) > 40:
        rows.append([f"  and {len(names) - 40} queues more", *("" for _ in runs)])
    return f"{text}\n\n{aligned(rows)}"


def span(seconds: float) -> str:
    """`3.2 h`, the unit that keeps it short."""
    if math.isnan(seconds):
        return "none"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def _spread(values: list[float]) -> tuple[float, float, float, float]:
    if not values:
        return math.nan, math.nan, math.nan, math.nan
    ordered = sorted(values)

    def at(part: float) -> float:
        return ordered[min(len(ordered) - 1, max(0, math.ceil(part * len(ordered)) - 1))]

    return _mean(values), at(0.5), at(0.9), at(0.99)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
