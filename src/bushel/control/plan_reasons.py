"""What a plan says of a job that waits: nodes counted by what is in their way, quota, share, and who comes first.

Guarantees: every node is counted once. Of other queues and their jobs nothing is told but how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bushel.control import explanation_texts as texts
from bushel.domain.ids import encode_job_id
from bushel.domain.job import GroupShape
from bushel.domain.resources import CPU
from bushel.scheduling.alternatives import Alternative, waiting_of
from bushel.scheduling.decisions import Eviction
from bushel.scheduling.entities import ReadyJob
from bushel.scheduling.feasibility import Obstacle, choices_of, count_obstacles
from bushel.scheduling.fleet import Fleet
from bushel.scheduling.gangs import tasks_by_place
from bushel.scheduling.plan import Cause, Plan, Waiting
from bushel.scheduling.quota import GPU_OF_ANY_MODEL, charge_of
from bushel.scheduling.snapshot import Snapshot
from bushel.scheduling.ways import models_in_order
from bushel.spec.explanation import AlternativeView, PreemptionView, ReasonView, StartPlaceView, Topic

_NODES_SHOWN = 16


def waiting_reasons(made: Plan, job: ReadyJob) -> list[ReasonView]:
    waiting = waiting_of(made, job)
    reasons: list[ReasonView] = []
    if waiting is None or waiting.cause is not Cause.QUOTA:
        reasons += _where(made, job)
    reasons += _quota(made, job, waiting)
    reasons += _share(made, job)
    reasons += _ahead(made, job)
    reasons += _on_the_way(made, job)
    return reasons


def _on_the_way(made: Plan, job: ReadyJob) -> list[ReasonView]:
    """What is being done for it already."""
    reasons: list[ReasonView] = []
    nodes = made.snapshot.fleet.nodes

    def names(node_ids: Iterable[int]) -> list[str]:
        return [nodes[node_id].name for node_id in list(node_ids)[:_NODES_SHOWN]]

    kept = made.kept_free
    if kept is not None and kept.job_id == job.id:
        sentence = f"{texts.plural(len(kept.node_ids), 'node')} take nothing new until it can start there"
        detail: dict[str, Any] = {"nodes": names(kept.node_ids)}
        reasons.append(reason("kept_free", "kept_for_it", sentence, count=len(kept.node_ids), blocking=False, detail=detail))
    for kept in [one for one in made.reservations if one.job_id == job.id][:1]:
        at = datetime.fromtimestamp(kept.start_seconds, UTC)
        what = "is" if len(kept.node_ids) == 1 else "are"
        sentence = f"{texts.plural(len(kept.node_ids), 'node')} {what} reserved for it from {at:%Y-%m-%d %H:%M} UTC"
        detail = {"nodes": names(kept.node_ids), "start_at": at.isoformat()}
        reasons.append(reason("kept_free", "reserved", sentence, count=len(kept.node_ids), blocking=False, detail=detail))
    if stopping := _stopping_on(made, {node_id for one in made.reservations if one.job_id == job.id for node_id in one.node_ids}):
        has = "has" if stopping == 1 else "have"
        sentence = f"{texts.plural(stopping, 'element')} there {has} been told to stop"
        reasons.append(reason("kept_free", "stopping_for_it", sentence, count=stopping, blocking=False))
    stopped = {eviction.job_id for eviction in made.evictions if eviction.for_job_id == job.id}
    if stopped:
        sentence = f"{texts.plural(len(stopped), 'job')} will be told to stop for it"
        reasons.append(reason("kept_free", "preempts", sentence, count=len(stopped), blocking=False))
    return reasons


def _stopping_on(made: Plan, node_ids: set[int]) -> int:
    """How many live elements on these nodes were told to stop."""
    if not node_ids:
        return 0
    live = made.snapshot.fleet.attempts.values()
    return sum(attempt.stopping and any(run.node_id in node_ids for run in attempt.runs) for attempt in live)


def _where(made: Plan, job: ReadyJob) -> list[ReasonView]:
    """Nodes counted by what is in the way; group by group when they are unlike."""
    reasons: list[ReasonView] = []
    fleet = made.snapshot.fleet
    if not fleet.nodes:
        return [reason("where", "no_nodes", "there are no nodes", count=0, detail={})]
    several = len(job.shape.groups) > 1
    excluded = np.isin(fleet.ids, np.array(job.exclusions.get(next(iter(job.pending)), ()), np.int64))
    for group in job.shape.groups:
        counts = count_obstacles(fleet, job.shape, group, made.room, excluded)
        for found in sorted(counts, key=lambda count: -count.nodes):
            sentence = (f"{group.name}: " if several else "") + texts.obstacle(found)
            detail = {"group": group.name, "what": found.detail, "needed": found.needed}
            topic: Topic = "kept_free" if found.obstacle is Obstacle.KEPT_FREE else "where"
            reasons.append(reason(topic, found.obstacle, sentence, count=found.nodes, detail=detail))
    if job.shape.task_count > 1:
        reasons += _together(made, job)
    return reasons


def _together(made: Plan, job: ReadyJob) -> list[ReasonView]:
    """Places that have room for some tasks of a gang and not for all."""
    level = job.shape.constraints.require or "cluster"
    reasons: list[ReasonView] = []
    for choice in choices_of(made.snapshot.fleet, job.shape):
        tasks = [tasks for _, tasks in tasks_by_place(made.room, choice, job.shape.constraints)]
        some = [count for count in tasks if 0 < count < choice.group.min_count]
        if some and max(tasks) < choice.group.min_count:
            has = "has" if len(some) == 1 else "have"
            sentence = f"{texts.plural(len(some), level)} {has} room for some, at most {max(some)} of {choice.group.min_count} together"
            reasons.append(reason("where", "not_together", sentence, count=len(some), detail={"level": level, "most": max(some)}))
    return reasons


def _quota(made: Plan, job: ReadyJob, waiting: Waiting | None) -> list[ReasonView]:
    queue = made.snapshot.queues.queues.get(job.queue_id)
    over = waiting.over_quota if waiting is not None else None
    if over is not None:
        name = made.snapshot.queues.queues[over.queue_id].name
        held, limit, needed = (texts.amount(over.resource, value) for value in (over.used, over.limit, over.needed))
        sentence = f"{name} holds {held} of the {limit} it may; this needs {needed} more"
        if over.needed > over.limit:
            sentence = f"{name} may hold {limit}; this needs {needed}, so it never starts while that limit stands"
        detail = {"queue": name, "resource": over.resource, "limit": over.limit, "used": over.used, "needed": over.needed}
        return [reason("quota", "queue_quota", sentence, detail=detail)]
    if queue is None or not any(above.quota for above in made.ledger.path(job.queue_id)):
        return []
    return [reason("quota", "fits", f"the quota of {queue.name} leaves room for it", blocking=False)]


def _share(made: Plan, job: ReadyJob) -> list[ReasonView]:
    """The resource of which its queue holds most of what it is entitled to: queues below theirs are served before it."""
    shares = made.shares
    if job.queue_id not in shares.rows:
        return []
    wanted = {name for group in job.shape.groups for name in _resources(made.snapshot.fleet, group)}
    beyond = [
        (share.used / max(1, share.entitled), name, share)
        for name, share in shares.of(job.queue_id).items()
        if name in wanted and share.used >= share.entitled and share.used
    ]
    if not beyond:
        return []
    _, name, share = max(beyond, key=lambda one: one[:2])
    queue = made.snapshot.queues.queues[job.queue_id].name
    used, entitled = texts.amount(name, share.used), texts.amount(name, share.entitled)
    sentence = f"{queue} uses {used} and is entitled to {entitled}: queues below what they are entitled to go first"
    detail = {"queue": queue, "resource": name, "used": share.used, "entitled": share.entitled}
    return [reason("ahead", "share_used", sentence, blocking=False, detail=detail)]


def _resources(fleet: Fleet, group: GroupShape) -> Iterator[str]:
    for rank in models_in_order(group, fleet.gpu_models()):
        for model in rank:
            yield from group.request.amounts(model)


def _ahead(made: Plan, job: ReadyJob) -> list[ReasonView]:
    """How many come before it in its queue."""
    mine = made.snapshot.lines.ahead(job.queue_id, job.priority, job.id)
    reasons: list[ReasonView] = []
    name = made.snapshot.queues.queues[job.queue_id].name if job.queue_id in made.snapshot.queues.queues else "its queue"
    if mine:
        reasons.append(reason("ahead", "ahead_in_queue", f"{texts.plural(mine, 'job')} before it in {name}", count=mine, blocking=False))
    return reasons


def headline(reasons: list[ReasonView]) -> str:
    blocking = [reason for reason in reasons if reason["blocking"]]
    together = [reason for reason in blocking if reason["code"] == "not_together"]
    chosen = (together or blocking or reasons)[:1]
    return chosen[0]["sentence"] if chosen else "it is planned with the next change"


def placement_of(fleet: Fleet, node_ids: Iterable[int]) -> StartPlaceView:
    nodes = [fleet.nodes[node_id] for node_id in dict.fromkeys(node_ids)]
    cluster = fleet.clusters[nodes[0].cluster_id]
    return StartPlaceView(
        cluster=cluster.name, site=cluster.site, nodes=[node.name for node in nodes[:_NODES_SHOWN]], node_count=len(nodes)
    )


def alternative_view(snapshot: Snapshot, other: Alternative, names: Mapping[int, str]) -> AlternativeView:
    """`names` are those of jobs that the reader may see."""
    preempts = _preemption(snapshot.fleet, other.evictions) if other.evictions else None
    ends = other.trial.ends
    last = ends.last[0] if ends is not None else None
    return AlternativeView(
        field=other.change.what,
        was=other.change.was,
        now=(encode_job_id(last) if last in names else None) if last is not None else other.change.now,
        sentence=texts.alternative(other, snapshot.queues.queues, names, preempts),
        placement=placement_of(snapshot.fleet, other.node_ids),
        preempts=preempts,
        in_seconds=None if ends is None else round(ends.seconds, 1),
    )


def _preemption(fleet: Fleet, evictions: Iterable[Eviction]) -> PreemptionView:
    """Lost time counts by accelerator, or by CPU where nobody has one."""
    jobs: set[int] = set()
    lost = {"GPU": 0.0, "CPU": 0.0}
    for eviction in evictions:
        jobs.add(eviction.job_id)
        live = fleet.attempts[eviction.job_id, eviction.index]
        tasks = max(1, sum(run.stop - run.first for run in live.runs))
        held = charge_of(live.runs)
        lost["GPU"] += eviction.lost_seconds / tasks * held.get(GPU_OF_ANY_MODEL, 0) / 1000
        lost["CPU"] += eviction.lost_seconds / tasks * held.get(CPU, 0) / 1000
    unit = "GPU" if lost["GPU"] else "CPU"
    return PreemptionView(jobs=len(jobs), lost_seconds=round(lost[unit], 1), lost_of=unit)


def reason(
    topic: Topic, code: str, sentence: str, *, count: int | None = None, blocking: bool = True, detail: dict[str, Any] | None = None
) -> ReasonView:
    return ReasonView(topic=topic, code=str(code), blocking=blocking, count=count, sentence=sentence, detail=detail or {})
