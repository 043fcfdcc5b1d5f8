"""What the scheduler reads: all of it once, and then what events name.

Guarantees: within one `read_only` transaction every statement sees the same moment. `changes_since` is exact: it names every object
with an event that was committed after the earlier moment and up to this one, also by transactions that were long under way; its
cost follows what changed, and a transaction that is still open delays nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bushel.store.database import Transaction

_CLUSTERS = """
    select c.id, c.name, s.name as site, c.epoch, c.started_count,
           coalesce(c.lease_expires_at > now() and c.lease_expires_at <> 'infinity', false) as alive,
           coalesce(c.capabilities ->> 'containers' = 'true', false) as containers,
           coalesce(c.capabilities ->> 'processes' <> 'false', true) as processes
    from clusters c join sites s on s.id = c.site_id where c.removed_at is null
"""

_NODES = """
    select n.id, n.cluster_id, n.name, n.capacity, n.labels, n.topology, n.version,
           n.state <> 'lost' as ready, n.cordoned_at is not null as cordoned, coalesce((
               select jsonb_agg(array[extract(epoch from w.starts_at), extract(epoch from w.ends_at)] order by w.starts_at)
               from maintenance_windows w where w.node_id = n.id
           ), '[]') as maintenance
    from nodes n join clusters c on c.id = n.cluster_id where c.removed_at is null
"""

_QUEUES = """
    select q.id, q.name, q.parent_id, q.weight, q.resource_quota as quota, q.guarantee, q.lending, q.borrowing, u.used, u.used_seconds
    from queues q left join (
        select queue_id, jsonb_object_agg(resource, resource_seconds) as used,
               extract(epoch from max(as_of))::double precision as used_seconds
        from queue_use group by queue_id
    ) u on u.queue_id = q.id
"""

# What decides where a job fits, as one text: equal texts are parsed once.
_SHAPE = "(j.spec - '{run,env,setup,workdir,name,labels,secrets,after,project,queue,hold,stage}'::text[])::text as shape"

_JOBS = f"""
    select j.id, j.queue_id, j.priority, j.version, extract(epoch from j.submitted_at)::double precision as submitted_seconds,
           j.pending::text as pending, j.pending_count, j.starting_count + j.running_count + j.stopping_count as live_count,
           j.submitter_id::text as submitter, {_SHAPE}
    from jobs j
    where j.ended_at is null and j.pending_count > 0 and not j.user_hold and j.unmet = 0 and not j.cancelling
"""

_EXCLUSIONS = """
    select r.job_id, r.index, r.excluded_nodes from retries r
    where r.excluded_nodes <> '{}' and (select j.ended_at is null and j.pending @> r.index from jobs j where j.id = r.job_id)
"""  # no join: of that, PostgreSQL may begin with all of the jobs

_ATTEMPTS = """
    select a.job_id, a.index, a.queue_id, a.placement, j.priority, a.state = 'stopping' as stopping,
           extract(epoch from a.created_at)::double precision as started_seconds,
           extract(epoch from a.checkpoint_at)::double precision as checkpoint_seconds, coalesce(r.preemptions, 0) as preemptions
    from attempts a join jobs j on j.id = a.job_id left join retries r on r.job_id = a.job_id and r.index = a.index
"""

_UNINTERESTING = ["attempt.running", "job.running"]
"""They move nothing that a plan looks at."""

_CHANGES = """
    select kind, job_id, object, (body ->> 'index')::int as index, (body ->> 'version')::bigint as version,
           (body ->> 'queue_id')::bigint as queue_id
    from (
        select * from events where written_by >= pg_snapshot_xmax(%(before)s::pg_snapshot)
        union all
        select * from events where written_by = any(array(select pg_snapshot_xip(%(before)s::pg_snapshot)))
    ) news
    where kind <> all(%(uninteresting)s) and (job_id is not null or kind like any(array['node.%%', 'queue.%%']))
"""


def read_only(tx: Transaction) -> tuple[str, datetime, datetime | None]:
    """Fix the moment that this transaction sees. Call it first.

    Returns the moment, for `changes_since`, what time it is, and when the past use of queues was last added to, which no event tells.
    """
    tx.execute("set transaction isolation level repeatable read, read only")
    row = tx.one("select pg_current_snapshot()::text as moment, now() as now, (select max(as_of) from queue_use) as used_at")
    return row["moment"], row["now"], row["used_at"]


def changes_since(tx: Transaction, moment: str) -> list[dict[str, Any]]:
    """What events of transactions say that became visible after `moment`, in no order."""
    return tx.all(_CHANGES, {"before": moment, "uninteresting": _UNINTERESTING})


def clusters(tx: Transaction) -> list[dict[str, Any]]:
    """All that were not removed."""
    return tx.all(_CLUSTERS)


def nodes(tx: Transaction, names: Sequence[tuple[str, str]] | None = None) -> list[dict[str, Any]]:
    """All, or those of these (cluster, name)."""
    if names is None:
        return tx.all(_NODES)
    query = f"{_NODES} and (c.name, n.name) in (select * from unnest(%s::text[], %s::text[]))"
    return tx.all(query, ([cluster for cluster, _ in names], [name for _, name in names]))


def queues(tx: Transaction, ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
    return tx.all(_QUEUES) if ids is None else tx.all(f"{_QUEUES} where q.id = any(%s)", (list(ids),))


def ready_jobs(tx: Transaction, ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Jobs of which something may start, array limits aside; all, or those of these."""
    return tx.all(_JOBS) if ids is None else tx.all(f"{_JOBS} and j.id = any(%s)", (list(ids),))


def exclusions(tx: Transaction, job_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Nodes on which a pending element failed through the node."""
    return tx.all(_EXCLUSIONS) if job_ids is None else tx.all(f"{_EXCLUSIONS} and r.job_id = any(%s)", (list(job_ids),))


def live_attempts(tx: Transaction, elements: Sequence[tuple[int, int]] | None = None) -> list[dict[str, Any]]:
    """All, or those of these (job, index)."""
    if elements is None:
        return tx.all(f"{_ATTEMPTS} where a.state <> 'ended'")
    query = f"{_ATTEMPTS} where (a.job_id, a.index) in (select * from unnest(%s::bigint[], %s::int[])) and a.state <> 'ended'"
    return tx.all(query, ([job_id for job_id, _ in elements], [index for _, index in elements]))


def shapes(tx: Transaction, job_ids: Sequence[int]) -> dict[int, str]:
    """What decides where a job fits, of each of these, as `ready_jobs` has it."""
    rows = tx.all(f"select j.id, {_SHAPE} from jobs j where j.id = any(%s)", (list(job_ids),)) if job_ids else []
    return {row["id"]: row["shape"] for row in rows}


def preemptions(tx: Transaction, job_ids: Sequence[int]) -> dict[tuple[int, int], int]:
    """How often elements of these jobs were stopped for others, by job and index; those that never were are left out."""
    query = "select job_id, index, preemptions from retries where job_id = any(%s) and preemptions > 0"
    return {(row["job_id"], row["index"]): row["preemptions"] for row in tx.all(query, (list(job_ids),))} if job_ids else {}


def live_numbers(tx: Transaction, elements: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """The numbers of the live attempts of these (job, index) that were not told to stop. Their jobs must be locked."""
    query = """
        select a.job_id, a.index, a.number from attempts a join unnest(%s::bigint[], %s::int[]) e (job_id, index) using (job_id, index)
        where a.state in ('starting', 'running')
    """
    rows = tx.all(query, ([job_id for job_id, _ in elements], [index for _, index in elements])) if elements else []
    return {(row["job_id"], row["index"]): row["number"] for row in rows}


_PLACE_CLUSTER = """
    update clusters set desired_version = desired_version + 1, started_count = started_count + %s
    where id = %s and epoch = %s and started_count = %s and removed_at is null
          and lease_expires_at > clock_timestamp() and lease_expires_at <> 'infinity'
    returning desired_version
"""

_UNCHANGED_NODES = """
    select n.id from nodes n join unnest(%s::bigint[], %s::bigint[]) planned (id, version) using (id, version)
    where n.state = 'ready' and n.cordoned_at is null
"""

_INSERT_ATTEMPTS = """
    insert into attempts (job_id, index, number, cluster_id, queue_id, epoch, placement, desired_version)
    select n.job_id, n.index, coalesce(r.attempts, 0) + 1, n.cluster_id, n.queue_id, n.epoch, n.placement, n.desired_version
    from unnest(%s::bigint[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::jsonb[], %s::bigint[])
         n (job_id, index, cluster_id, queue_id, epoch, placement, desired_version)
         left join retries r on r.job_id = n.job_id and r.index = n.index
    returning job_id, index, number
"""


def place_on_cluster(tx: Transaction, cluster_id: int, epoch: int, started_count: int, starts: int) -> int | None:
    """Lock a cluster that is as it was planned for, and count `starts` more. Its new desired version.

    None: its lease is over or has passed on, or somebody else has placed something there that the plan did not know of.
    """
    row = tx.first(_PLACE_CLUSTER, (starts, cluster_id, epoch, started_count))
    return row["desired_version"] if row else None


def started_count(tx: Transaction, cluster_id: int) -> int:
    """Attempts ever placed on a cluster."""
    return tx.one("select started_count from clusters where id = %s", (cluster_id,))["started_count"]


def unchanged_nodes(tx: Transaction, versions: Sequence[tuple[int, int]]) -> set[int]:
    """Those of these (node, version) that still are of that version and may be used."""
    return {row["id"] for row in tx.all(_UNCHANGED_NODES, ([node for node, _ in versions], [version for _, version in versions]))}


def insert_attempts(tx: Transaction, rows: Sequence[tuple[int, int, int, int, int, str, int]]) -> dict[tuple[int, int], int]:
    """Job, index, cluster, queue, epoch, placement as JSON text, desired version. The attempt's number by (job, index)."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return {(row["job_id"], row["index"]): row["number"] for row in tx.all(_INSERT_ATTEMPTS, columns)}
