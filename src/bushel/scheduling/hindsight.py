"""What the past of an installation says of durations and of start estimates: nothing is written down for it but the jobs themselves.

Guarantees: pure; a function of the jobs that are told. For the newest jobs that had to wait, the estimate is made that could have been made
at their submission, from what had ended by then, and compared with what became of them: so the interval is calibrated by true outcomes,
and the durations are those learnt from all that has ended.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bushel.scheduling.durations import Durations, Kind
from bushel.scheduling.entities import ShapeClass
from bushel.scheduling.estimates import Calibration, Holding, StartEstimate, raw_wait_seconds

GPU, CPU = "gpu", "cpu"
AHEAD_LIMIT = 400
"""Most waiting jobs whose turn is played through in one estimate."""
_WAITED_SECONDS = 5.0
"""Who started sooner did not wait."""
_ENDED, _STARTED, _SUBMITTED = range(3)


@dataclass(frozen=True, slots=True)
class PastJob:
    """`amount` of `resource` is what all of it holds at once. Moments in seconds since 1970, None for what has not come to be;
    `seconds`: how long an element ran, None unless it succeeded."""

    id: int
    kind: Kind
    resource: str
    amount: int
    submitted: float
    started: float | None = None
    ended: float | None = None
    seconds: float | None = None


def scarce_amount(shape: ShapeClass, elements: int = 1) -> tuple[str, int]:
    """Accelerators if it needs some, else CPUs, in thousandths."""
    for resource in (GPU, CPU):
        amount = sum(getattr(group.request, f"{resource}_milli") * group.count for group in shape.groups) * elements
        if amount:
            return resource, amount
    return CPU, 0


def size_of(shape: ShapeClass) -> int:
    """What tells small jobs of a submitter from large ones."""
    return shape.task_count * max(1, shape.groups[0].request.gpu_milli)


class Hindsight:
    """`ended` jobs are known, and of `tried` waits an estimate was compared with what became of it."""

    def __init__(self, past: Sequence[PastJob], capacity: Mapping[str, int], *, tries: int = 200) -> None:
        self.durations = Durations()
        self.calibration = Calibration()
        self.ended = 0
        self.tried: dict[str, int] = {GPU: 0, CPU: 0}
        self.hits = 0
        waits = [job for job in past if job.started is not None and job.started - job.submitted >= _WAITED_SECONDS]
        chosen = {job.id for job in sorted(waits, key=lambda job: (job.submitted, job.id))[-tries:]}
        self._replay(past, capacity, chosen)

    def _replay(self, past: Sequence[PastJob], capacity: Mapping[str, int], chosen: set[int]) -> None:
        waiting: dict[int, PastJob] = {}
        running: dict[int, PastJob] = {}
        made: dict[int, StartEstimate] = {}
        events: list[tuple[float, int, int, PastJob]] = []
        for job in past:
            events.append((job.submitted, _SUBMITTED, job.id, job))
            if job.started is not None:
                events.append((job.started, _STARTED, job.id, job))
            if job.ended is not None:
                events.append((job.ended, _ENDED, job.id, job))
        heapq.heapify(events)
        while events:
            now, what, job_id, job = heapq.heappop(events)
            if what == _SUBMITTED:
                self.durations.submitted(job_id, job.kind)
                if job_id in chosen:
                    made[job_id] = self._would_say(job, now, capacity, running, waiting)
                if job.ended is None or job.started is not None:
                    waiting[job_id] = job
            elif what == _STARTED:
                waiting.pop(job_id, None)
                running[job_id] = job
                if (estimate := made.pop(job_id, None)) is not None:
                    actual = now - job.submitted
                    self.tried[job.resource] += 1
                    self.hits += estimate.low <= actual <= estimate.high
                    self.calibration.started(job.resource, estimate, actual)
            else:
                waiting.pop(job_id, None)
                running.pop(job_id, None)
                self.ended += 1
                if job.seconds is not None:
                    self.durations.ended(job_id, job.seconds)
                else:
                    self.durations.forget(job_id)

    def _would_say(
        self, job: PastJob, now: float, capacity: Mapping[str, int], running: Mapping[int, PastJob], waiting: Mapping[int, PastJob]
    ) -> StartEstimate:
        most = capacity.get(job.resource, 0)
        holding = [self._holding(other, most, now - (other.started or now)) for other in running.values() if other.resource == job.resource]
        ahead = [self._holding(other, most) for other in waiting.values() if other.resource == job.resource][-AHEAD_LIMIT:]
        free = max(0, most - sum(one.amount for one in holding))
        raw = raw_wait_seconds(min(job.amount, most), free, holding, ahead)
        return self.calibration.estimate(job.resource, raw)

    def _holding(self, job: PastJob, most: int, served: float = 0.0) -> Holding:
        return Holding(job.id, min(job.amount, most), self.durations.forecast(job.id), max(0.0, served))
