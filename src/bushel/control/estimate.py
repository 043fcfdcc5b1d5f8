"""When a job that waits, or one that is not submitted, is likely to start.

Guarantees: whether it starts at once is what the scheduler's own plan says. Else those ahead of it are served in fair order as room comes
free, with durations learnt from the past of this installation, and the interval is the one that would have held four of five starts of
the past. Where the past is too short for that it is said. Nothing is written; of other people's jobs nothing is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from bushel.control import explanation_texts as texts
from bushel.control.explain import explainer_of
from bushel.control.job_history import hindsight_of, kind_of
from bushel.control.jobs import find_job
from bushel.control.submit import dry_run
from bushel.domain.ids import encode_job_id
from bushel.domain.lifecycle import TERMINAL_JOB_STATES, JobState
from bushel.domain.principal import Principal
from bushel.domain.resources import CPU, GPU_PREFIX
from bushel.scheduling.alternatives import waiting_of
from bushel.scheduling.backfill import fits_empty
from bushel.scheduling.decisions import Cause, Waiting
from bushel.scheduling.durations import Forecast
from bushel.scheduling.entities import LiveAttempt, ReadyJob, ShapeClass
from bushel.scheduling.estimates import Holding, StartEstimate, raw_wait_seconds, service_sequence
from bushel.scheduling.feasibility import choices_of
from bushel.scheduling.hindsight import AHEAD_LIMIT, GPU, Hindsight, scarce_amount
from bushel.scheduling.kernels.tables import KEY, STARTABLE
from bushel.scheduling.lines import job_of_key
from bushel.scheduling.plan import Plan
from bushel.scheduling.quota import charge_of
from bushel.spec.estimate import EstimateView, StartIntervalView
from bushel.store.database import Database
from bushel.workloads.compile import compile_job

ENOUGH_WAITS = 30
"""From so many waits on the interval is the past's; before it is a wide guess."""


def estimate(database: Database, principal: Principal, reference: str, project: str | None = None) -> EstimateView:
    """
    Raises:
        NotFound: there is no such job, or the principal may not see it.
    """
    with database.transaction() as tx:
        row = find_job(tx, principal, reference, project)
        now = tx.now
    if JobState(row["state"]) in TERMINAL_JOB_STATES:
        return _view(row, now, f"it has ended: {row['state']}")
    if row["user_hold"]:
        return _view(row, now, f"it is held; bushel release {encode_job_id(row['id'])} lets it go")
    if row["unmet"]:
        return _view(row, now, "it waits for other jobs first; bushel explain names them")
    if not row["pending_count"]:
        return _view(row, now, "nothing of it waits for a place" if not row["delayed_count"] else "it pauses before its next attempt")
    return _of_waiting(database, row, row["id"])


def estimate_document(database: Database, principal: Principal, document: dict[str, Any], project: str | None = None) -> EstimateView:
    """Of a canonical document, if it were submitted now. Nothing is submitted.

    Raises:
        BushelError: it could not be submitted; as `submit` raises it.
    """
    (row,) = dry_run(database, principal, [document], project=project, batch=False)
    if row["state"] != JobState.QUEUED:
        with database.transaction() as tx:
            return _view(row, tx.now, f"it would be {row['state']}" + (f": {row['message']}" if row["message"] else ""))
    return _of_waiting(database, row, None)


def _of_waiting(database: Database, row: Mapping[str, Any], job_id: int | None) -> EstimateView:
    known = hindsight_of(database)
    shape = compile_job(row["spec"])
    added = ReadyJob(0, row["queue_id"], ShapeClass.of(shape), row["priority"], 0.0, pending=shape.indices) if job_id is None else None
    with explainer_of(database).planned(added) as (made, now):
        job = made.snapshot.lines.job(job_id) if job_id is not None else made.snapshot.lines.job(max(made.snapshot.lines.where))
        if job is None:
            return _view(row, now, "something of it has just changed; ask again")
        if made.starting_jobs.get(job.id):
            return _view(row, now, "it starts with the next plan", starts_now=True, known=known)
        waiting = waiting_of(made, job)
        if waiting is not None and waiting.cause is Cause.NO_NODE:
            return _view(row, now, "it never starts while the fleet is as it is: no node could hold it", known=known)
        if not fits_empty(made.room, choices_of(made.snapshot.fleet, job.shape), job.shape.constraints):
            return _view(row, now, "it never starts while the fleet is as it is: it is larger than all of it", known=known)
        if waiting is not None and waiting.over_quota is not None and waiting.over_quota.needed > waiting.over_quota.limit:
            return _view(row, now, "it never starts while the quota of its queue is smaller than it", known=known)
        found = _Model(made, job, waiting, known, now.timestamp(), row).estimate()
    return _view(row, now, _sentence(found), found=found, known=known)


class _Model:
    """What the estimate is made from: of the resource in the way, what is free, who holds it, who is served before."""

    def __init__(
        self, made: Plan, job: ReadyJob, waiting: Waiting | None, known: Hindsight, now_seconds: float, row: Mapping[str, Any]
    ) -> None:
        self._made, self._job, self._known, self._now, self._row = made, job, known, now_seconds, row
        self._over = waiting.over_quota if waiting is not None and waiting.cause is Cause.QUOTA else None
        self._resource, self._amount = scarce_amount(job.shape)
        tree = made.snapshot.queues
        self._inside = {
            queue_id for queue_id in tree.queues if self._over is None or any(q.id == self._over.queue_id for q in tree.path(queue_id))
        }

    def estimate(self) -> StartEstimate:
        fleet, over = self._made.snapshot.fleet, self._over
        variants = [variant for choice in choices_of(fleet, self._job.shape) for variant in choice.variants]
        rows = np.unique(np.concatenate([variant.rows for variant in variants]))
        nodes = set(fleet.ids[rows].tolist())
        running = [
            holding
            for live in fleet.attempts.values()
            if live.queue_id in self._inside and (over is not None or any(run.node_id in nodes for run in live.runs))
            if (holding := self._held(live)).amount
        ]
        if over is not None:
            capacity, free = over.limit, over.limit - over.used
        else:
            columns = [column for name, column in fleet.column_of.items() if name == CPU or name.startswith(GPU_PREFIX)]
            columns = [column for column in columns if (column in fleet.model_of) == (self._resource == GPU)]
            capacity = int(fleet.capacity[columns][:, rows].sum())
            free = int(np.maximum(0, self._made.room.free[columns][:, rows]).sum())
        raw = raw_wait_seconds(self._amount, max(0, free), running, self._ahead(capacity))
        return self._known.calibration.estimate(self._resource, raw)

    def _held(self, live: LiveAttempt) -> Holding:
        amount = charge_of(live.runs).get(self._resource, 0)
        served = max(0.0, self._now - live.started_seconds)
        shape = live.shape or self._job.shape
        return Holding(live.job_id, amount, self._forecast(live.job_id, live.queue_id, "", shape), served)

    def _forecast(self, job_id: int, queue_id: int, submitter: str, shape: ShapeClass) -> Forecast:
        durations = self._known.durations
        return durations.forecast(job_id) if durations.knows(job_id) else durations.of_kind(kind_of(queue_id, submitter, "", shape, None))

    def _ahead(self, capacity: int) -> list[Holding]:
        """Those served before it, nearest last."""
        snapshot = self._made.snapshot
        lines, tree = snapshot.lines, snapshot.queues
        numbers = {queue_id: number for number, queue_id in enumerate(sorted(self._inside))}
        weights = np.array([max(1, tree.queues[queue_id].weight) for queue_id in numbers], np.float64)
        held = np.array([tree.used.get(queue_id, {}).get(self._resource, 0) for queue_id in numbers], np.float64)
        found: list[tuple[int, int, int, int]] = []  # queue, key, amount, line
        for line in np.flatnonzero(lines.length[: lines.count]).tolist():
            number = numbers.get(int(lines.queue_ids[line]))
            resource, amount = scarce_amount(lines.shapes.shapes[lines.klass[line]])
            if number is None or resource != self._resource:
                continue
            first = int(lines.start[line])
            pool = lines.pool[:, first : first + int(lines.length[line])]
            found += [
                (number, key, min(amount * count, capacity), line)
                for key, count in zip(pool[KEY].tolist(), pool[STARTABLE].tolist(), strict=True)
            ]
        found.sort()
        order = service_sequence(held, weights, [one[0] for one in found], [one[2] for one in found])
        place = next((at for at, row in enumerate(order) if job_of_key(found[row][1]) == self._job.id), len(order))
        ahead = [found[row] for row in order[max(0, place - AHEAD_LIMIT) : place]]
        return [Holding(job_of_key(key), amount, self._forecast_of_line(job_of_key(key), line)) for _, key, amount, line in ahead]

    def _forecast_of_line(self, job_id: int, line: int) -> Forecast:
        lines = self._made.snapshot.lines
        job = lines.job(job_id)
        return self._forecast(job_id, int(lines.queue_ids[line]), job.submitter if job else "", lines.shapes.shapes[lines.klass[line]])


def _sentence(found: StartEstimate) -> str:
    low, median, high = (texts.duration(seconds) for seconds in (found.low, found.median, found.high))
    return f"it starts in about {median}; four of five such starts lie between {low} and {high}"


def _view(
    row: Mapping[str, Any],
    now: datetime,
    sentence: str,
    *,
    starts_now: bool = False,
    found: StartEstimate | None = None,
    known: Hindsight | None = None,
) -> EstimateView:
    ended, waits = (known.ended, sum(known.tried.values())) if known is not None else (0, 0)
    basis = ""
    if found is not None:
        basis = f"from {texts.plural(ended, 'ended job')} and {texts.plural(waits, 'wait')} of the past"
        if waits < ENOUGH_WAITS:
            basis = f"a wide guess: the past has only {texts.plural(ended, 'ended job')} and {texts.plural(waits, 'wait')}"
    return EstimateView(
        job=encode_job_id(row["id"]) if row["id"] is not None else None,
        name=row["name"],
        project=row["project"],
        queue=row["queue"],
        state=row["state"],
        sentence=sentence,
        starts_now=starts_now,
        start=_interval(found, now) if found is not None else None,
        ended_jobs=ended,
        waits=waits,
        basis=basis,
        as_of=now.isoformat(),
    )


def _interval(found: StartEstimate, now: datetime) -> StartIntervalView:
    low, median, high = (round(seconds, 1) for seconds in (found.low, found.median, found.high))
    at = [(now + timedelta(seconds=seconds)).isoformat() for seconds in (low, median, high)]
    return StartIntervalView(low_seconds=low, median_seconds=median, high_seconds=high, low_at=at[0], median_at=at[1], high_at=at[2])
