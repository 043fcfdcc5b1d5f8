"""What would have to be different for a waiting job to start now, or soon.

Guarantees: each alternative was planned: in a snapshot that is so changed, and otherwise the same, the job starts with the next plan,
or, where others are stopped for it, as soon as these have ended. Of an amount the largest that starts is looked for, from what the
plan leaves free. What others would lose is what the plan says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from bushel.domain.job import PRIORITY_NAMES, Constraints
from bushel.domain.resources import ResourceRequest
from bushel.scheduling.decisions import Cause, Eviction, Waiting
from bushel.scheduling.ends import Ends, Remaining, declared_remaining, earliest_ends
from bushel.scheduling.entities import Queue, ReadyJob, ShapeClass
from bushel.scheduling.feasibility import choices_of
from bushel.scheduling.fleet import DEVICE_MILLI
from bushel.scheduling.foresight import following
from bushel.scheduling.gangs import tasks_by_place
from bushel.scheduling.plan import Plan, Policy, plan
from bushel.scheduling.snapshot import Snapshot

_SITES_LIMIT = 4
_LABELS_LIMIT = 3
_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """`what` is a field of the document, `ends` or `quota`; `was` and `now` its amounts or texts, None for absent."""

    what: str
    was: int | str | None = None
    now: int | str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A change, and what is otherwise in the snapshot by it: the job, a queue, or attempts that have ended."""

    change: Change
    job: ReadyJob | None = None
    queue: Queue | None = None
    ends: Ends | None = None

    def applied(self, snapshot: Snapshot) -> AbstractContextManager[Snapshot]:
        return snapshot.supposing([self.job] if self.job else (), self.ends.keys if self.ends else (), [self.queue] if self.queue else ())


@dataclass(frozen=True, slots=True)
class Alternative:
    """With this change the job starts on `node_ids`, once those of `evictions` have ended. `seconds`: how far off the change is."""

    trial: Trial
    node_ids: tuple[int, ...]
    evictions: tuple[Eviction, ...] = ()

    @property
    def change(self) -> Change:
        return self.trial.change

    @property
    def seconds(self) -> float | None:
        return self.trial.ends.seconds if self.trial.ends else None


def alternatives(
    planned: Plan,
    job: ReadyJob,
    now: datetime,
    policy: Policy,
    *,
    limit: int = 8,
    remaining: Remaining | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> list[Alternative]:
    """What would start `job`, which `planned` leaves waiting. At most `limit` changes are tried, and none more once `enough` says so."""
    found: list[Alternative] = []
    for _, trial in zip(range(limit), trials(planned, job, now, remaining), strict=False):
        if enough():
            break
        with trial.applied(planned.snapshot) as changed:
            made = plan(changed, now, policy)
            alternative = _alternative(trial, made, job.id)
            if alternative is not None and (made.starting_jobs.get(job.id) or _starts_then(made, job.id, now, policy)):
                found.append(alternative)
    return found


def _starts_then(made: Plan, job_id: int, now: datetime, policy: Policy) -> bool:
    """Whether it starts once those that are stopped have ended, and no other takes the place."""
    with following(made, now.timestamp()) as then:
        return job_id in plan(then, now, policy).starting_jobs


def _alternative(trial: Trial, made: Plan, job_id: int) -> Alternative | None:
    evictions = tuple(eviction for eviction in made.evictions if eviction.for_job_id == job_id)
    if starts := made.starting_jobs.get(job_id):
        return Alternative(trial, tuple(dict.fromkeys(run.node_id for run in starts[0].runs)), evictions)
    kept = next((one for one in made.reservations if one.job_id == job_id), None)
    return Alternative(trial, kept.node_ids, evictions) if kept is not None and evictions else None


def trials(planned: Plan, job: ReadyJob, now: datetime, remaining: Remaining | None = None) -> Iterator[Trial]:
    """Changes that may start it, the smaller ones first."""
    shape, waiting = job.shape, waiting_of(planned, job)
    if waiting is None or waiting.cause is not Cause.QUOTA:
        for change, changed in (
            *_fewer_tasks(planned, shape),
            *_looser_topology(shape),
            *_smaller_tasks(planned, shape),
            *_other_models(planned, shape),
            *_elsewhere(planned, shape),
        ):
            yield Trial(change, job=replace(job, shape=changed))
    yield from _more_quota(planned, waiting)
    ends = earliest_ends(planned, job, waiting, remaining or declared_remaining(now.timestamp()))
    if ends is not None:
        yield Trial(Change("ends", None, ends.last[0]), ends=ends)
    high = PRIORITY_NAMES["high"]
    if job.priority < high:
        yield Trial(Change("priority", job.priority, high), job=replace(job, priority=high))


def waiting_of(planned: Plan, job: ReadyJob) -> Waiting | None:
    """What the plan says of the line of `job`; of the job itself, if it says something."""
    mine = planned.waiting.of(job.queue_id, job.shape)
    return next((waiting for waiting in mine if waiting.first_job_id == job.id), mine[-1] if mine else None)


def _more_quota(planned: Plan, waiting: Waiting | None) -> Iterator[Trial]:
    """With a limit that leaves just enough."""
    over = waiting.over_quota if waiting is not None and waiting.cause is Cause.QUOTA else None
    queue = planned.snapshot.queues.queues.get(over.queue_id) if over is not None else None
    if over is not None and queue is not None and queue.quota.get(over.resource) == over.limit:
        limit = over.used + over.needed
        yield Trial(Change("quota", over.limit, limit), queue=replace(queue, quota={**queue.quota, over.resource: limit}))


def _fewer_tasks(planned: Plan, shape: ShapeClass) -> Iterator[tuple[Change, ShapeClass]]:
    if len(shape.groups) != 1 or shape.groups[0].count == 1:
        return
    group = shape.groups[0]
    most = max(
        (tasks for _, tasks in tasks_by_place(planned.room, choices_of(planned.snapshot.fleet, shape)[0], shape.constraints)), default=0
    )
    if 0 < most < group.min_count:
        yield Change("nodes", group.count, most), replace(shape, groups=(replace(group, count=most, min_count=most),))


def _looser_topology(shape: ShapeClass) -> Iterator[tuple[Change, ShapeClass]]:
    level = shape.constraints.require
    if level is not None and shape.task_count > 1:
        yield Change("require", level, None), _constrained(shape, replace(shape.constraints, require=None, prefer=level))


def _smaller_tasks(planned: Plan, shape: ShapeClass) -> Iterator[tuple[Change, ShapeClass]]:
    """With less of one resource: as much as some node has free beside the rest of the request."""
    if shape.task_count != 1:
        return
    request = shape.groups[0].request
    if request.gpu_milli >= DEVICE_MILLI and (left := _most_devices(planned, shape)) < request.gpu_milli and left:
        yield Change("gpu", request.gpu_milli, left), _requesting(shape, replace(request, gpu_milli=left))
    for field, unit in (("memory_bytes", _GIB), ("cpu_milli", 1000), ("disk_bytes", _GIB)):
        wanted = getattr(request, field)
        if not wanted:
            continue
        left = _most_free(planned, shape, field)
        if left < unit:
            unit = unit // 10 if field == "cpu_milli" else _MIB
        left -= left % unit
        if 0 < left < wanted:
            what = field.partition("_")[0]
            yield Change(what, wanted, left), _requesting(shape, replace(request, **{field: left}))


def _most_free(planned: Plan, shape: ShapeClass, field: str) -> int:
    """Most of a resource that is free on one node which has room for all else."""
    fleet, room = planned.snapshot.fleet, planned.room
    name = field.partition("_")[0]
    column = fleet.column_of.get(name)
    if column is None:
        return 0
    tiny = _requesting(shape, replace(shape.groups[0].request, **{field: 1}))
    most = 0
    for variant in choices_of(fleet, tiny)[0].variants:
        rows = variant.rows[room.counts(variant, variant.rows) > 0]
        most = max(most, int(room.free[column, rows].max(initial=0)))
    return most


def _most_devices(planned: Plan, shape: ShapeClass) -> int:
    fleet, room = planned.snapshot.fleet, planned.room
    one = _requesting(shape, replace(shape.groups[0].request, gpu_milli=DEVICE_MILLI))
    most = 0
    for variant in choices_of(fleet, one)[0].variants:
        rows = variant.rows[room.counts(variant, variant.rows) > 0]
        if len(rows):
            most = max(most, int(np.max(room.device_counts(variant, rows))) * DEVICE_MILLI)
    return most


def _other_models(planned: Plan, shape: ShapeClass) -> Iterator[tuple[Change, ShapeClass]]:
    wanted = sorted({model for group in shape.groups for model in group.request.gpu_models})
    if not wanted:
        return
    for model in planned.snapshot.fleet.gpu_models():
        if model not in wanted:
            groups = tuple(
                replace(group, request=replace(group.request, gpu_models=(model,))) if group.request.gpu_models else group
                for group in shape.groups
            )
            yield Change("gpu.model", " or ".join(wanted), model), replace(shape, groups=groups)


def _elsewhere(planned: Plan, shape: ShapeClass) -> Iterator[tuple[Change, ShapeClass]]:
    wanted = shape.constraints
    if wanted.sites or wanted.clusters:
        sites = sorted({cluster.site for cluster in planned.snapshot.fleet.clusters.values() if cluster.alive})
        for site in [site for site in sites if site not in wanted.sites][:_SITES_LIMIT]:
            was = ", ".join(wanted.sites or wanted.clusters)
            yield Change("sites", was, site), _constrained(shape, replace(wanted, sites=(site,), clusters=()))
    for label in wanted.labels[:_LABELS_LIMIT]:
        rest = tuple(other for other in wanted.labels if other != label)
        yield Change("labels", "=".join(label), None), _constrained(shape, replace(wanted, labels=rest))


def _requesting(shape: ShapeClass, request: ResourceRequest) -> ShapeClass:
    return replace(shape, groups=(replace(shape.groups[0], request=request),))


def _constrained(shape: ShapeClass, constraints: Constraints) -> ShapeClass:
    return replace(shape, constraints=constraints)
