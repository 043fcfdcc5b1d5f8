"""Attempts: locked, written and listed many at a time.

Guarantees: attempts are locked in ascending (job, index, number), after their jobs and before their cluster; an attempt that
ended is never locked for change again, so nothing here can bring one back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from bushel.domain.failpoints import reach
from bushel.domain.ranges import IndexRanges
from bushel.store.database import Transaction

AttemptKey = tuple[int, int, int]
"""Job number, index, attempt number."""

_KEYS = "unnest(%s::bigint[], %s::int[], %s::int[]) k (job_id, index, number)"

_LIVE_AMONG = f"""
    select a.job_id, a.index, a.number, a.report_version
    from {_KEYS} join attempts a using (job_id, index, number)
    where a.cluster_id = %s and a.epoch = %s and a.state <> 'ended'
"""

_MISSING = """
    select job_id, index, number from attempts
    where cluster_id = %s and epoch = %s and state <> 'ended' and desired_version <= %s
"""

_OF_OLD_EPOCHS = """
    select a.job_id, a.index, a.number
    from attempts a join clusters c on c.id = a.cluster_id
    where a.cluster_id = %s and a.state <> 'ended' and a.epoch < c.epoch
    order by a.job_id, a.index limit %s
"""

_LOCKED_COLUMNS = """
    a.job_id, a.index, a.number, a.cluster_id, a.state, a.stop_reason, a.message, a.placement, a.progress, a.started_at, a.checkpoint_at,
    a.version, a.report_version, a.desired_version, r.counted_failures, r.uncounted_failures, r.checkpoints, r.excluded_nodes,
    r.resume_from, r.preemptions
"""

_LOCK = f"""
    select {_LOCKED_COLUMNS}
    from {_KEYS} join attempts a using (job_id, index, number) left join retries r using (job_id, index)
    where a.state <> 'ended'
    order by a.job_id, a.index, a.number for update of a
"""

_LOCK_OF_JOBS = f"""
    select {_LOCKED_COLUMNS}
    from attempts a left join retries r using (job_id, index)
    where a.job_id = any(%s) and a.state <> 'ended' and (%s::int4multirange is null or a.index <@ %s::int4multirange)
    order by a.job_id, a.index, a.number for update of a
"""

CLOCK_SKEW_SECONDS = 5
"""An agent's time that lies further than this outside of what is possible counts for nothing; the database's is taken."""


def _of_agent(time: str) -> str:
    """A time of the agent's clock, moved to between the making of the attempt and now if it is not far from it; else null."""
    skew = f"interval '{CLOCK_SKEW_SECONDS} s'"
    return f"case when {time} between a.created_at - {skew} and now() + {skew} then least(greatest({time}, a.created_at), now()) end"


_STARTED_AT = f"coalesce(a.started_at, case when n.started then coalesce({_of_agent('n.started_at')}, now()) end)"

_WRITE = f"""
    update attempts a set
        state = n.state, stop_reason = coalesce(n.stop_reason, a.stop_reason),
        stop_grace_seconds = coalesce(n.stop_grace_seconds, a.stop_grace_seconds), outcome = n.outcome,
        failure_class = n.failure_class, reason = n.reason, message = n.message, exit_code = n.exit_code, signal = n.signal,
        tasks = coalesce(n.tasks, a.tasks), usage = coalesce(n.usage, a.usage), progress = coalesce(n.progress, a.progress),
        desired_version = coalesce(n.desired_version, a.desired_version), report_version = coalesce(n.report_version, a.report_version),
        checkpoint_at = case when n.checkpointed then now() else a.checkpoint_at end, started_at = {_STARTED_AT},
        ended_at = case when n.state = 'ended' then greatest(coalesce({_of_agent("n.ended_at")}, now()), {_STARTED_AT}) end,
        version = a.version + n.steps
    from unnest(%s::bigint[], %s::int[], %s::int[], %s::jsonb[]) k (job_id, index, number, change)
         cross join lateral jsonb_to_record(k.change) n (
             state text, stop_reason text, stop_grace_seconds double precision, outcome text, failure_class text, reason text,
             message text, exit_code int, signal int, tasks jsonb, usage jsonb, progress jsonb, desired_version bigint,
             report_version bigint, started boolean, started_at timestamptz, ended_at timestamptz, steps int, checkpointed boolean
         )
    where a.job_id = k.job_id and a.index = k.index and a.number = k.number
"""

_AGAIN = """
    insert into retries (
        job_id, index, attempts, counted_failures, uncounted_failures, checkpoints, due_at, excluded_nodes, resume_from, preemptions
    )
    select n.job_id, n.index, n.attempts, n.counted, n.uncounted, n.checkpoints, now() + make_interval(secs => n.after_seconds),
           n.excluded::bigint[], n.resume_from, n.preemptions
    from unnest(%s::bigint[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::double precision[], %s::text[], %s::text[],
                %s::int[])
         n (job_id, index, attempts, counted, uncounted, checkpoints, after_seconds, excluded, resume_from, preemptions)
    on conflict (job_id, index) do update set
        attempts = excluded.attempts, counted_failures = excluded.counted_failures, uncounted_failures = excluded.uncounted_failures,
        checkpoints = excluded.checkpoints, due_at = excluded.due_at, excluded_nodes = excluded.excluded_nodes,
        resume_from = excluded.resume_from, preemptions = excluded.preemptions
"""

_DESIRED = """
    select a.job_id, a.index, a.number, a.state, a.stop_reason, a.stop_grace_seconds, a.placement, a.desired_version,
           j.name as job_name, j.project_id, j.spec, j.element_count, j.submitted_at, s.path as project, q.name as queue, r.resume_from
    from attempts a join jobs j on j.id = a.job_id join scopes s on s.id = j.project_id join queues q on q.id = j.queue_id
         left join retries r on r.job_id = a.job_id and r.index = a.index
    where a.cluster_id = %s and a.epoch = %s and a.state <> 'ended' and a.desired_version > %s
    order by a.job_id, a.index
"""

_FORGETTABLE = """
    select job_id, index, number from attempts
    where cluster_id = %s and epoch = %s and state = 'ended' and desired_version > %s
"""


@dataclass(slots=True)
class AttemptChange:
    """What becomes of one locked attempt. None leaves a column as it is, but for those that say how it ended."""

    key: AttemptKey
    state: str
    stop_reason: str | None = None
    stop_grace_seconds: float | None = None
    outcome: str | None = None
    failure_class: str | None = None
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    tasks: Jsonb | None = None
    usage: Jsonb | None = None
    progress: Jsonb | None = None
    desired_version: int | None = None
    report_version: int | None = None
    started: bool = False
    started_at: datetime | None = None  # by the agent's clock, as ended_at
    ended_at: datetime | None = None
    steps: int = 1  # how many states it went on by
    checkpointed: bool = False  # it told of a checkpoint


_CHANGED = tuple(field.name for field in fields(AttemptChange) if field.name != "key")


@dataclass(slots=True)
class Again:
    """One element gets another attempt; `after_seconds` None: it may start at once."""

    key: AttemptKey
    counted_failures: int
    uncounted_failures: int
    checkpoints: int
    after_seconds: float | None
    excluded_nodes: Sequence[int]
    resume_from: str | None
    preemptions: int


def key_of(row: dict[str, Any]) -> AttemptKey:
    return row["job_id"], row["index"], row["number"]


def live_among(tx: Transaction, cluster_id: int, epoch: int, keys: Sequence[AttemptKey]) -> dict[AttemptKey, int]:
    """Those of `keys` that are live attempts of this cluster under this epoch, with their report versions. Locks nothing."""
    if not keys:
        return {}
    return {key_of(row): row["report_version"] for row in tx.all(_LIVE_AMONG, (*_columns(keys), cluster_id, epoch))}


def given_up_to(tx: Transaction, cluster_id: int, epoch: int, version: int) -> list[AttemptKey]:
    """Live attempts that every answer up to `version` held."""
    return [key_of(row) for row in tx.all(_MISSING, (cluster_id, epoch, version))]


def of_old_epochs(tx: Transaction, cluster_id: int, limit: int) -> list[AttemptKey]:
    """Live attempts made under a lease that this cluster no longer has."""
    return [key_of(row) for row in tx.all(_OF_OLD_EPOCHS, (cluster_id, limit))]


def lock_live(tx: Transaction, keys: Sequence[AttemptKey]) -> list[dict[str, Any]]:
    """Those of `keys` that are still live, locked, with their elements' history. Their jobs must be locked."""
    return tx.all(_LOCK, _columns(keys)) if keys else []


def lock_live_of_jobs(tx: Transaction, job_ids: Sequence[int], indices: IndexRanges | None = None) -> list[dict[str, Any]]:
    """All live attempts of these jobs, or of some of their indices, locked. The jobs must be locked."""
    ranges = None if indices is None else indices.to_postgres()
    return tx.all(_LOCK_OF_JOBS, (list(job_ids), ranges, ranges)) if job_ids else []


def write(tx: Transaction, changes: Sequence[AttemptChange]) -> None:
    """Write locked attempts."""
    if not changes:
        return
    tx.execute(_WRITE, [*_columns([change.key for change in changes]), [Jsonb(_written(change)) for change in changes]])
    reach("attempts.after_write")


def _written(change: AttemptChange) -> dict[str, Any]:
    """The columns that a change names: one document is cheaper to hand over than eighteen arrays."""
    written: dict[str, Any] = {}
    for name in _CHANGED:
        value = getattr(change, name)
        if isinstance(value, Jsonb):
            value = value.obj
        elif isinstance(value, datetime):
            value = value.isoformat()
        if value is not None:
            written[name] = value
    return written


def write_again(tx: Transaction, again: Sequence[Again]) -> None:
    """Note the history of elements that get another attempt, and when it is due."""
    if not again:
        return
    tx.execute(
        _AGAIN,
        [
            *_columns([one.key for one in again]),
            [one.counted_failures for one in again],
            [one.uncounted_failures for one in again],
            [one.checkpoints for one in again],
            [one.after_seconds for one in again],
            ["{" + ",".join(map(str, one.excluded_nodes)) + "}" for one in again],
            [one.resume_from for one in again],
            [one.preemptions for one in again],
        ],
    )


def desired(tx: Transaction, cluster_id: int, epoch: int, known_version: int) -> list[dict[str, Any]]:
    """Live attempts of a cluster that changed after `known_version`, with all that an agent must know of them."""
    return tx.all(_DESIRED, (cluster_id, epoch, known_version))


def forgettable(tx: Transaction, cluster_id: int, epoch: int, known_version: int) -> list[AttemptKey]:
    """Attempts whose end was recorded after `known_version`."""
    return [key_of(row) for row in tx.all(_FORGETTABLE, (cluster_id, epoch, known_version))]


def blob_needed(tx: Transaction, cluster_id: int, project: str, digest: str) -> int | None:
    """The number of the project if a live attempt on this cluster has this working folder of it."""
    row = tx.first(
        """
        select j.project_id from attempts a join jobs j on j.id = a.job_id join scopes s on s.id = j.project_id
        where a.cluster_id = %s and a.state <> 'ended' and s.path = %s and j.spec ->> 'workdir' = %s limit 1
        """,
        (cluster_id, project, digest),
    )
    return row["project_id"] if row else None


def node_names(tx: Transaction, attempts: Iterable[dict[str, Any]]) -> dict[int, str]:
    """The names of all nodes in these attempts' placements."""
    ids = {part["node"] for attempt in attempts for part in attempt["placement"]}
    return {row["id"]: row["name"] for row in tx.all("select id, name from nodes where id = any(%s)", (sorted(ids),))} if ids else {}


def _columns(keys: Sequence[AttemptKey]) -> list[list[int]]:
    return [[key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]]
