"""Discrete events in virtual time around the real `plan`.

Guarantees: reproducible byte for byte from the trace, the world, the policy and the seed; the snapshot is fed change by change, as the live
scheduler's is, and `plan` is called only when something changed or when a plan said that time alone would change it. At one moment
ends come before outages, those before arrivals, and all of them before the plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from bushel.domain.lifecycle import AttemptState, FailureClass, Outcome
from bushel.domain.retry import Again
from bushel.scheduling.decisions import Start
from bushel.scheduling.durations import Durations, Kind
from bushel.scheduling.entities import LiveAttempt, Node, ReadyJob
from bushel.scheduling.plan import Plan, Policy, plan
from bushel.scheduling.snapshot import Snapshot
from bushel.simulation.conditions import Conditions
from bushel.simulation.jobs import Attempt, SimulatedJob
from bushel.simulation.measures import Measures, Outcomes
from bushel.simulation.trace import EPOCH_SECONDS, TraceJob, World

_END, _RUNS, _AWAY, _BACK, _DUE, _ARRIVAL, _WAKE = range(7)
_MOMENTS_WITHOUT_PROGRESS = 10_000


@dataclass(frozen=True, slots=True)
class Setting:
    """A policy under its name. `period_seconds`: plans are at least so far apart; 0: at every change. `forecasts`: the scheduler is told
    expected durations that are learnt from what ended; otherwise what was declared."""

    name: str
    policy: Policy
    period_seconds: float = 0.0
    forecasts: bool = True


class Watcher(Protocol):
    """Sees a run from within, and changes nothing in it."""

    def planned(self, simulation: Simulation) -> None: ...

    def started(self, simulation: Simulation, job: SimulatedJob) -> None: ...


class Simulation:
    """One run. `outcomes` says what became of everything."""

    def __init__(
        self,
        jobs: Iterable[TraceJob],
        world: World,
        setting: Setting,
        conditions: Conditions | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.jobs = {job.id: SimulatedJob(job) for job in sorted(jobs, key=lambda job: (job.arrival_seconds, job.id))}
        self.world = world.with_queues(simulated.job.queue for simulated in self.jobs.values())
        self.setting = setting
        self.conditions = conditions or Conditions()
        self.watcher = watcher
        self.snapshot = Snapshot()
        self.now = 0.0
        self.plans = 0
        self.planned: Plan | None = None
        self.durations = Durations()
        self.arrived: list[int] = []  # since the last plan
        self.queue_ids = {queue.name: queue.id for queue in self.world.queues}
        self._nodes: dict[int, Node] = {node.id: node for node in self.world.nodes}
        self._events: list[tuple[float, int, int, tuple[Any, ...]]] = []
        self._count = 0
        self._open = len(self.jobs)
        self._touched: set[int] = set()
        self._planned_at = -1.0
        self._wake_at: float | None = None
        self._by_node: dict[int, set[tuple[int, int]]] = {}
        self.measures = Measures(self.world)

    def run(self, until_seconds: float | None = None) -> Outcomes:
        """To the last end, or to a moment."""
        self._set_up()
        changed = True
        idle = 0
        while self._open and self._events:
            moment = self._events[0][0]
            if until_seconds is not None and moment > until_seconds:
                break
            self.measures.pass_time(moment - self.now)
            self.now = moment
            while self._events and self._events[0][0] <= moment:
                _, kind, _, what = heapq.heappop(self._events)
                changed = self._happen(kind, what) or changed
            if changed and self._may_plan():
                idle = 0 if self._plan() else idle + 1
                changed = False
                if idle > _MOMENTS_WITHOUT_PROGRESS and not any(job.attempts for job in self.jobs.values()) and not self._arrivals_left():
                    break  # what is left never fits
        if until_seconds is not None:
            self.measures.pass_time(until_seconds - self.now)
            self.now = until_seconds
        return self.measures.outcomes(self.jobs.values(), self.now, self.setting.name, self.plans)

    # Events ----------------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        for cluster in self.world.clusters:
            self.snapshot.put_cluster(cluster)
        for node in self.world.nodes:
            self.snapshot.put_node(node)
            self._next_outage(node, self.conditions.outages(node))
        for queue in self.world.queues:
            self.snapshot.put_queue(queue)
        for job_id, job in self.jobs.items():
            self._at(job.job.arrival_seconds, _ARRIVAL, job_id)

    def _at(self, moment: float, kind: int, *what: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (moment, kind, self._count, what))

    def _happen(self, kind: int, what: tuple[Any, ...]) -> bool:
        """True when it may change the plan."""
        if kind == _ARRIVAL:
            self._arrive(*what)
        elif kind == _END:
            return self._end(*what)
        elif kind == _RUNS:
            return self._runs(*what)
        elif kind == _AWAY:
            self._away(*what)
        elif kind == _BACK:
            self._put_ready(what[0], True)
        elif kind == _DUE:
            job_id, index = what
            self.jobs[job_id].due(index)
            self._settle(job_id)
        return True

    def _arrive(self, job_id: int) -> None:
        job = self.jobs[job_id].job
        if self.setting.forecasts:
            self.durations.submitted(job_id, _kind(job))
        self.measures.asked(self.queue_ids[job.queue], job.shape, job.elements)
        self.arrived.append(job_id)
        self._settle(job_id)

    def _runs(self, job_id: int, index: int, number: int) -> bool:
        attempt = self._attempt(job_id, index, number)
        if attempt is not None and attempt.state is AttemptState.STARTING:
            self.jobs[job_id].run(attempt)
            self.jobs[job_id].settle()
        return False

    def _end(self, job_id: int, index: int, number: int, outcome: Outcome, failure: FailureClass | None) -> bool:
        attempt = self._attempt(job_id, index, number)
        if attempt is None or (attempt.state is AttemptState.STOPPING) != (outcome is Outcome.PREEMPTED):
            return False
        self._finish(job_id, attempt, outcome, failure)
        return True

    def _finish(self, job_id: int, attempt: Attempt, outcome: Outcome, failure: FailureClass | None, node: int | None = None) -> None:
        job = self.jobs[job_id]
        if attempt.state is AttemptState.STARTING and outcome is Outcome.SUCCEEDED:
            job.run(attempt)
            job.settle()
        index = attempt.live.index
        following = job.end(attempt, self.now, outcome, failure, notice=outcome is Outcome.PREEMPTED)
        self.snapshot.remove_attempt(job_id, index)
        for run in attempt.live.runs:
            self._by_node.get(run.node_id, set()).discard((job_id, index))
        queue_id = attempt.live.queue_id
        self.measures.released(queue_id, attempt.live.runs)
        if isinstance(following, Again):
            if node is not None and job.job.elements == 1:
                job.elements[index].exclusions = (*job.elements[index].exclusions, node)
            if following.after_seconds > 0:
                self._at(self.now + following.after_seconds, _DUE, job_id, index)
        else:
            self.measures.answered(queue_id, job.job.shape)
        self._settle(job_id)

    def _away(self, node_id: int, length: float, outages: Any) -> None:
        node = self._nodes[node_id]
        self._put_ready(node_id, False)
        self._at(self.now + length, _BACK, node_id)
        spot = node.billing == "spot"
        for job_id, index in sorted(self._by_node.get(node_id, ())):
            attempt = self.jobs[job_id].attempts[index]
            if spot:  # the provider gives notice, so there is a checkpoint
                if attempt.state is not AttemptState.STOPPING:
                    self.jobs[job_id].stop(attempt)
                self._finish(job_id, attempt, Outcome.PREEMPTED, FailureClass.PREEMPTED)
            else:
                self._finish(job_id, attempt, Outcome.LOST, FailureClass.INFRASTRUCTURE, node_id)
        self._next_outage(node, outages)

    def _next_outage(self, node: Node, outages: Any) -> None:
        found = next(outages, None)
        if found is not None:
            self._at(found[0], _AWAY, node.id, found[1], outages)

    def _put_ready(self, node_id: int, ready: bool) -> None:
        node = self._nodes[node_id] = replace(self._nodes[node_id], ready=ready, version=self._nodes[node_id].version + 1)
        self.snapshot.put_node(node)
        self.measures.node(node)

    # Planning --------------------------------------------------------------------------------------------------------

    def _may_plan(self) -> bool:
        if self.setting.period_seconds and self.now < self._planned_at + self.setting.period_seconds:
            self._wake(self._planned_at + self.setting.period_seconds)
            return False
        return True

    def _wake(self, moment: float) -> None:
        if self._wake_at is None or not self.now < self._wake_at <= moment:
            self._wake_at = moment
            self._at(moment, _WAKE)

    def _plan(self) -> bool:
        """Plan until the plan is complete. True if anything came of it."""
        self._planned_at = self.now
        self._feed()
        if not len(self.snapshot.lines):
            return False
        any_decided = False
        while True:
            made = self.planned = plan(self.snapshot, datetime.fromtimestamp(EPOCH_SECONDS + self.now, UTC), self.setting.policy)
            self.plans += 1
            for eviction in made.evictions:
                self._evict(eviction.job_id, eviction.index)
            for start in made.starts:
                self._start(start)
            decided = bool(len(made.starts) or len(made.evictions))
            any_decided = any_decided or decided
            self._feed()
            if made.complete or not decided or not len(self.snapshot.lines):
                break
        if self.watcher is not None:
            self.watcher.planned(self)
        self.arrived.clear()
        if made.revisit_at_seconds is not None and made.revisit_at_seconds - EPOCH_SECONDS > self.now:
            self._wake(made.revisit_at_seconds - EPOCH_SECONDS)
        return any_decided

    def _start(self, start: Start) -> None:
        job = self.jobs[start.job_id]
        if self.watcher is not None and job.first_start is None:
            self.watcher.started(self, job)
        trace, conditions = job.job, self.conditions
        element = job.elements.get(start.index)
        live = LiveAttempt(
            *(start.job_id, start.index, start.queue_id, start.runs),
            shape=trace.shape,
            priority=trace.priority,
            started_seconds=EPOCH_SECONDS + self.now,
            expected_seconds=self._expected(trace, element.saved_seconds if element else 0.0),
            checkpoint_seconds=EPOCH_SECONDS + self.now if trace.checkpoint_seconds is not None and trace.on_notice else None,
            preemptions=element.preemptions if element else 0,
        )
        attempt = job.start(live, self.now, conditions.start_seconds, conditions.restart_seconds)
        self.snapshot.put_attempt(live)
        self._settle(trace.id)
        for run in start.runs:
            self._by_node.setdefault(run.node_id, set()).add((start.job_id, start.index))
        self.measures.held(start.queue_id, start.runs)
        left = max(0.0, trace.runtime_seconds - attempt.saved_before)
        fails_after = conditions.fails_after(trace.id, start.index, attempt.number)
        name = trace.id, start.index, attempt.number
        if conditions.start_seconds <= 0:
            job.run(attempt)
            job.settle()
        else:
            self._at(self.now + conditions.start_seconds, _RUNS, *name)
        if fails_after < left:
            self._at(attempt.work_from + fails_after, _END, *name, Outcome.FAILED, FailureClass.INFRASTRUCTURE)
        else:
            self._at(attempt.work_from + left, _END, *name, Outcome.SUCCEEDED, None)

    def _evict(self, job_id: int, index: int) -> None:
        attempt = self.jobs[job_id].attempts.get(index)
        if attempt is None or attempt.state is AttemptState.STOPPING:
            return
        self.jobs[job_id].stop(attempt)
        self.snapshot.put_attempt(attempt.live)
        self.jobs[job_id].settle()
        self._at(self.now + self.conditions.grace_seconds, _END, job_id, index, attempt.number, Outcome.PREEMPTED, FailureClass.PREEMPTED)

    # The snapshot ----------------------------------------------------------------------------------------------------

    def _attempt(self, job_id: int, index: int, number: int) -> Attempt | None:
        attempt = self.jobs[job_id].attempts.get(index)
        return attempt if attempt is not None and attempt.number == number else None

    def _settle(self, job_id: int) -> None:
        job = self.jobs[job_id]
        job.settle()
        self._touched.add(job_id)
        if job.ended and job.ended_at is None:
            job.ended_at = self.now
            self._open -= 1
            if job.counts["succeeded"]:
                self.durations.ended(job_id, job.job.runtime_seconds)
            else:
                self.durations.forget(job_id)

    def _feed(self) -> None:
        put, remove = [], []
        for job_id in sorted(self._touched):
            job = self.jobs[job_id]
            if job.startable > 0 and not job.ended:
                put.append(self._ready(job))
            else:
                remove.append(job_id)
        self._touched.clear()
        self.snapshot.change_jobs(put, remove)

    def _ready(self, job: SimulatedJob) -> ReadyJob:
        trace = job.job
        exclusions = {index: element.exclusions for index, element in job.elements.items() if element.exclusions and index in job.pending}
        saved = job.elements[0].saved_seconds if trace.elements == 1 and 0 in job.elements else 0.0
        return ReadyJob(
            *(trace.id, self.queue_ids[trace.queue], trace.shape, trace.priority, EPOCH_SECONDS + trace.arrival_seconds),
            *(job.startable, job.pending, exclusions, self._expected(trace, saved), trace.submitter),
        )

    def _expected(self, trace: TraceJob, saved_seconds: float) -> float | None:
        if not self.setting.forecasts:
            return trace.declared_seconds
        return self.durations.forecast(trace.id).remaining(saved_seconds)

    def _arrivals_left(self) -> bool:
        return any(kind == _ARRIVAL for _, kind, _, _ in self._events)


def _kind(job: TraceJob) -> Kind:
    return Kind(
        job.queue, job.submitter, job.name, job.shape.task_count * max(1, job.shape.groups[0].request.gpu_milli), job.declared_seconds
    )
