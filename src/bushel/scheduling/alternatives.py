"""What would have to be different for a waiting job to start now.

Guarantees: each alternative was planned: a snapshot in which the job is so changed, and nothing else, gives a plan in which it
starts. Of an amount the largest that starts is looked for, from what the plan leaves free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from bushel.domain.job import PRIORITY_NAMES, Constraints
from bushel.domain.resources import ResourceRequest
from bushel.scheduling.entities import ReadyJob, ShapeClass
from bushel.scheduling.feasibility import choices_of
from bushel.scheduling.fleet import DEVICE_MILLI
from bushel.scheduling.gangs import tasks_by_place
from bushel.scheduling.plan import Plan, Policy, Start, plan

_SITES_LIMIT = 4
_LABELS_LIMIT = 3
_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """`what` is a field of the document; `was` and `now` its amounts or texts, None for absent."""

    what: str
    was: int | str | None
    now: int | str | None


@dataclass(frozen=True, slots=True)
class Alternative:
    """The job, so changed, would start as `start` says."""

    change: Change
    start: Start


def alternatives(planned: Plan, job: ReadyJob, now: datetime, policy: Policy, limit: int = 6) -> list[Alternative]:
    """Changes to `job`, which `planned` leaves waiting, that would start it. At most `limit` are tried."""
    found: list[Alternative] = []
    for _, (change, changed) in zip(range(limit), _changes(planned, job), strict=False):
        made = plan(planned.snapshot.with_jobs([changed]), now, policy)
        if starts := made.starting_jobs.get(job.id):
            found.append(Alternative(change, starts[0]))
    return found


def _changes(planned: Plan, job: ReadyJob) -> Iterator[tuple[Change, ReadyJob]]:
    shape = job.shape
    for change, changed in (
        *_fewer_tasks(planned, shape),
        *_looser_topology(shape),
        *_smaller_tasks(planned, shape),
        *_other_models(planned, shape),
        *_elsewhere(planned, shape),
    ):
        yield change, replace(job, shape=changed)
    high = PRIORITY_NAMES["high"]
    if job.priority < high:
        yield Change("priority", job.priority, high), replace(job, priority=high)


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
