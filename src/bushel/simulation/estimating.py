"""Start estimates tried on a run: made at submission for every job that has to wait, compared when it starts.

Guarantees: an estimate is made from what the scheduler knew at that moment, by the code that the scheduler uses; it changes nothing
in the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from bushel.scheduling.estimates import Calibration, Holding, StartEstimate, raw_wait_seconds, service_sequence
from bushel.simulation.engine import Simulation
from bushel.simulation.jobs import SimulatedJob

ALL = "all"
"""Queues are calibrated together: apart, most see too few waits to follow a load that changes."""


@dataclass(frozen=True, slots=True)
class Tried:
    """`made_at` and `actual` in seconds: the moment, and how long the job waited from then on."""

    job_id: int
    made_at: float
    estimate: StartEstimate
    actual: float

    @property
    def hit(self) -> bool:
        return self.estimate.low <= self.actual <= self.estimate.high


@dataclass
class EstimateTrial:
    """A watcher of a simulation. `most_ahead` bounds what one estimate costs."""

    most_ahead: int = 400
    tried: list[Tried] = field(default_factory=list)
    calibration: Calibration = field(default_factory=Calibration)
    _open: dict[int, tuple[float, StartEstimate]] = field(default_factory=dict)

    def planned(self, simulation: Simulation) -> None:
        new = [job_id for job_id in simulation.arrived if simulation.jobs[job_id].first_start is None]
        if not new:
            return
        running = self._running(simulation)
        waiting = sorted(simulation.snapshot.lines.where)
        measures = simulation.measures
        rows = [measures.row_of(simulation.queue_ids[simulation.jobs[job_id].job.queue]) for job_id in waiting]
        amounts = [measures.amount_of(simulation.jobs[job_id].job.shape) for job_id in waiting]
        sequence = service_sequence(measures.held_by_queue.astype(np.float64), measures.weights, rows, amounts)
        place = {waiting[row]: at for at, row in enumerate(sequence)}
        for job_id in new:
            at = place.get(job_id)
            if at is None:
                continue
            ahead = [self._holding(simulation, waiting[row], amounts[row]) for row in sequence[max(0, at - self.most_ahead) : at]]
            raw = raw_wait_seconds(amounts[sequence[at]], measures.free, running, ahead)
            self._open[job_id] = simulation.now, self.calibration.estimate(ALL, raw)

    def started(self, simulation: Simulation, job: SimulatedJob) -> None:
        found = self._open.pop(job.job.id, None)
        if found is None:
            return
        made_at, estimate = found
        actual = simulation.now - made_at
        self.calibration.started(ALL, estimate, actual)
        self.tried.append(Tried(job.job.id, made_at, estimate, actual))

    @property
    def coverage(self) -> float:
        """Part of the starts that lay in their interval."""
        return sum(one.hit for one in self.tried) / len(self.tried) if self.tried else math.nan

    def _running(self, simulation: Simulation) -> list[Holding]:
        found: list[Holding] = []
        for (job_id, _), attempt in sorted(simulation.snapshot.fleet.attempts.items()):
            job = simulation.jobs[job_id]
            live = job.attempts[attempt.index]
            served = live.worked(simulation.now) + live.saved_before
            amount = simulation.measures.amount_of(job.job.shape)
            found.append(Holding(job_id, amount, simulation.durations.forecast(job_id), served))
        return found

    def _holding(self, simulation: Simulation, job_id: int, amount: int) -> Holding:
        return Holding(job_id, amount, simulation.durations.forecast(job_id))
