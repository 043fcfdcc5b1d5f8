"""When a waiting job is likely to start: a median and an interval that holds four starts of five.

Guarantees: pure and without chance: the scenarios are a fixed low-discrepancy sequence, so the same question has the same answer. The
interval is calibrated by what became of earlier estimates, whatever the model behind them leaves out (jobs yet to come, failures, the
shapes of holes), and goes on being so when the load changes.

Each scenario gives every running job an end and every waiting job ahead a length, from their forecasts, and serves those ahead in order
as room comes free. The spread of the answers over the scenarios is the model's; the rest is learnt: the ratios of actual waits to
estimated ones give the interval (split conformal prediction, Vovk 2005), and its nominal level follows its hits (Gibbs and Candès 2021).
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bushel.scheduling.durations import Floats, Forecast, quantiles_after

SCENARIOS = 16
LEVEL = 0.8
_GOLDEN = 0.6180339887498949
_SMOOTHING_SECONDS = 60.0
"""Waits are compared by their logarithm, after this is added: a minute more or less is no error of a factor."""
_REMEMBERED = 400
_ENOUGH = 30
_STEP = 0.01
_WIDE = math.log(8.0)
_FARTHEST_SECONDS = 10 * 365 * 86400.0


@dataclass(frozen=True, slots=True)
class StartEstimate:
    """Seconds from now. `raw` is the model's median before calibration, to be handed back to `Calibration.started`."""

    low: float
    median: float
    high: float
    raw: float


@dataclass(frozen=True, slots=True)
class Holding:
    """What a running job, or a waiting one ahead, holds or will hold of the scarce resource, and for how long."""

    name: int
    amount: int
    forecast: Forecast
    served_seconds: float = 0.0


def raw_wait_seconds(amount: int, free: int, running: Sequence[Holding], ahead: Sequence[Holding]) -> float:
    """The model's median wait of a job that needs `amount` of what these hold and is served after `ahead`."""
    ends = _draw(running) - np.array([job.served_seconds for job in running])
    lengths = _draw(ahead)
    waits = [_wait(amount, free, running, ahead, ends[number], lengths[number]) for number in range(SCENARIOS)]
    return float(np.median(waits))


def _draw(jobs: Sequence[Holding]) -> Floats:
    """Whole durations: scenario × job. Every job has its own phase, so that scenarios are unlike and jobs independent."""
    location, scale = np.array([job.forecast.location for job in jobs]), np.array([job.forecast.scale for job in jobs])
    served = np.array([job.served_seconds for job in jobs])
    phase = np.array([job.name * _GOLDEN % 1.0 for job in jobs])
    stride = np.array([(2 * (job.name * 7919 % 8) + 1) / SCENARIOS for job in jobs])  # odd sixteenths: every stratum once
    parts = (phase / SCENARIOS + np.arange(SCENARIOS)[:, None] * stride) % 1.0
    return quantiles_after(location, scale, served, np.clip(parts, 1e-3, 1 - 1e-3))


def _wait(amount: int, free: int, running: Sequence[Holding], ahead: Sequence[Holding], ends: Floats, lengths: Floats) -> float:
    held = [(float(end), job.amount) for end, job in zip(ends, running, strict=True)]
    heapq.heapify(held)
    now = 0.0
    for job, length in zip(ahead, lengths, strict=True):
        while free < job.amount and held:
            now, released = heapq.heappop(held)
            free += released
        if free < job.amount:
            continue  # it never fits, so nobody waits for it
        free -= job.amount
        heapq.heappush(held, (now + float(length), job.amount))
    while free < amount and held:
        now, released = heapq.heappop(held)
        free += released
    return min(now, _FARTHEST_SECONDS)


@dataclass(slots=True)
class _Ratios:
    """Logarithms of actual over estimated waits, the newest `_REMEMBERED`, and the level at which the interval is read off."""

    newest: deque[float] = field(default_factory=deque)
    ordered: list[float] = field(default_factory=list)
    level: float = LEVEL

    def add(self, ratio: float) -> None:
        self.newest.append(ratio)
        bisect.insort(self.ordered, ratio)
        if len(self.newest) > _REMEMBERED:
            del self.ordered[bisect.bisect_left(self.ordered, self.newest.popleft())]

    def at(self, part: float) -> float:
        place = part * (len(self.ordered) + 1) - 1
        low = min(len(self.ordered) - 1, max(0, math.floor(place)))
        high = min(len(self.ordered) - 1, low + 1)
        return self.ordered[low] + (self.ordered[high] - self.ordered[low]) * min(1.0, max(0.0, place - low))


class Calibration:
    """Told of every estimate's outcome. Groups are calibrated by themselves once they have seen enough; few large ones do best."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Ratios] = {}

    def estimate(self, group: Hashable, raw_seconds: float) -> StartEstimate:
        ratios = self._of(group)
        if len(ratios.ordered) < _ENOUGH:
            offsets = (-_WIDE, 0.0, _WIDE)
        else:
            offsets = (ratios.at(0.5 - ratios.level / 2), ratios.at(0.5), ratios.at(0.5 + ratios.level / 2))
        low, median, high = (max(0.0, (raw_seconds + _SMOOTHING_SECONDS) * math.exp(offset) - _SMOOTHING_SECONDS) for offset in offsets)
        return StartEstimate(low, median, high, raw_seconds)

    def started(self, group: Hashable, estimate: StartEstimate, actual_seconds: float) -> None:
        """The job for which `estimate` was given started after `actual_seconds`."""
        hit = estimate.low <= actual_seconds <= estimate.high
        ratio = math.log((actual_seconds + _SMOOTHING_SECONDS) / (estimate.raw + _SMOOTHING_SECONDS))
        for name in dict.fromkeys((group, None)):
            ratios = self._groups.setdefault(name, _Ratios())
            ratios.level = min(0.98, max(0.4, ratios.level + _STEP * (LEVEL - hit)))
            ratios.add(ratio)

    def _of(self, group: Hashable) -> _Ratios:
        found = self._groups.get(group)
        if found is None or len(found.ordered) < _ENOUGH:
            found = self._groups.get(None)
        return found or _Ratios()


def service_sequence(
    held: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], queue: Sequence[int], amount: Sequence[int]
) -> list[int]:
    """In which order waiting jobs are served under fair sharing: numbers of the rows, which are in order within each queue.

    A queue's next job counts with what the queue would hold by then, beside its weight (virtual finishing times; Demers 1989).
    """
    total = held.astype(np.float64).copy()
    keys: list[tuple[float, int, int]] = []
    for row, (number, needed) in enumerate(zip(queue, amount, strict=True)):
        total[number] += needed
        keys.append((total[number] / weights[number], number, row))
    return [row for _, _, row in sorted(keys)]
