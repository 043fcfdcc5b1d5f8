"""How long, how fast, and what is slow: of a run that goes on, and of one that has not begun.

Guarantees: pure functions of what was measured; None where nothing was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

STALL_TIMES = 5
"""A stage stalls when nothing has finished for so many times its median interval."""

LEAST_STALL_SECONDS = 5.0
STRAGGLER_TIMES = 3.0
LEAST_DURATIONS = 5


def rate_per_second(moments: Sequence[Sequence[float]], now: float) -> float | None:
    """Partitions finished a second, over the last moments that were noted and the time since."""
    if len(moments) < 2:
        return None
    (first_at, first_done), (_, last_done) = moments[0], moments[-1]
    seconds = max(now - first_at, 1e-3)
    return (last_done - first_done) / seconds if last_done > first_done else None


def stalled_seconds(moments: Sequence[Sequence[float]], now: float, live: int) -> float | None:
    """How long nothing has finished, if that is long for this stage and something runs."""
    if len(moments) < 3 or not live:
        return None
    intervals = [(b[0] - a[0]) / max(1, b[1] - a[1]) for a, b in pairwise(moments)]
    quiet = now - moments[-1][0]
    return quiet if quiet > max(LEAST_STALL_SECONDS, STALL_TIMES * median(intervals)) else None


def median_seconds(durations: Sequence[float]) -> float | None:
    return median(durations) if durations else None


def is_straggler(seconds: float, durations: Sequence[float]) -> bool:
    return len(durations) >= LEAST_DURATIONS and seconds > STRAGGLER_TIMES * max(median(durations), 0.1)


def left_of_stage(count: int, done: int, rate: float | None) -> float | None:
    if count <= done:
        return 0.0
    return None if rate is None else (count - done) / rate


def plan_stage(stage: Mapping[str, Any], count: int | None, durations: Sequence[float]) -> tuple[float | None, float | None]:
    """Seconds of a partition, and CPU-hours of the stage."""
    seconds = median_seconds(durations)
    if seconds is None:
        seconds = stage.get("expected_duration")
    if seconds is None or count is None:
        return seconds, None
    return seconds, seconds * count * cpus_of(stage) / 3600


def cpus_of(stage: Mapping[str, Any]) -> float:
    """Of one partition."""
    if "groups" in stage:
        return sum(group["count"] * group["resources"]["cpu"] for group in stage["groups"])
    return stage["resources"]["cpu"] * stage.get("nodes", 1)


def plan_finish(
    stages: Mapping[str, Mapping[str, Any]], planned: Mapping[str, tuple[int | None, float | None]], cpus: float
) -> float | None:
    """Seconds that a run takes at least: the work of all CPUs, the slowest stage under its limit, and the way of the last partition.

    `planned` has the count and the seconds of a partition of each stage. None if one of these is not known.
    """
    known = {name: (count, seconds) for name, (count, seconds) in planned.items() if count is not None and seconds is not None}
    if cpus <= 0 or len(known) < len(planned):
        return None
    work, slowest, path = 0.0, 0.0, 0.0
    for name, (count, seconds) in known.items():
        together = max(1, min(count, int(cpus / cpus_of(stages[name])), stages[name].get("limit", count) or 1))
        work += count * seconds * cpus_of(stages[name])
        slowest = max(slowest, -(-count // together) * seconds)
        path += seconds
    return max(work / cpus, slowest) + path - max((seconds for _, seconds in known.values()), default=0.0)
