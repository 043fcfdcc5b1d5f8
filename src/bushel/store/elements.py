"""The rows in which the elements of jobs are counted: locked together, written together.

Guarantees: rows of `jobs` are locked in ascending id, so that no two callers wait for each other; finished indices of arrays are
kept in rows of `CHUNK` indices, so that the cost of an update does not follow the length of the array.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import Cursor

from bushel.domain.ranges import IndexRanges
from bushel.store.database import Transaction

CHUNK = 4096

PLACES = ("pending", "delayed", "starting", "running", "stopping", "succeeded", "failed", "cancelled", "gated")
"""Where an element can be, as the columns are called."""

_LOCK_COLUMNS = """
    select j.id, s.path as scope_path, j.state, j.reason, j.message, j.user_hold, j.unmet, j.cancelling, j.element_count,
           j.pending_count, j.delayed_count, j.starting_count, j.running_count, j.stopping_count,
           j.succeeded_count, j.failed_count, j.cancelled_count, j.gated_count, j.is_stage,
           j.exit_code, j.failure_class, j.first_failure, j.version, j.submitter_id,
           j.spec -> 'retry' as retry, j.spec -> 'preemption' -> 'grace' as grace_seconds, j.spec ? 'array' as is_array,
           case when %s then j.pending::text end as pending, case when j.is_stage then j.gated::text end as gated
    from jobs j join scopes s on s.id = j.project_id
"""

_LOCK = f"{_LOCK_COLUMNS} where j.id = any(%s) order by j.id for update of j"

_LOCK_OF_RUNS = f"""
    {_LOCK_COLUMNS}
    where j.id = any(array(
        select sj.job_id from stage_jobs sj join run_stages rs on rs.id = sj.stage_id where rs.run_id = any(%s)
    ))
    order by j.id for update of j
"""

_WRITE = """
    update jobs j set
        state = n.state, reason = n.reason, message = n.message, cancelling = n.cancelling, unmet = n.unmet,
        pending = j.pending - n.pending_less::int4multirange + n.pending_more::int4multirange,
        gated = case when n.gated_less = '{}' then j.gated else j.gated - n.gated_less::int4multirange end, gated_count = n.gated,
        pending_count = n.pending, delayed_count = n.delayed, starting_count = n.starting, running_count = n.running,
        stopping_count = n.stopping, succeeded_count = n.succeeded, failed_count = n.failed, cancelled_count = n.cancelled,
        exit_code = n.exit_code, failure_class = n.failure_class, progress = coalesce(n.progress, j.progress),
        first_failure = coalesce(j.first_failure, n.first_failure),
        started_at = case when j.started_at is null and n.started
            then coalesce((select min(a.started_at) from attempts a where a.job_id = j.id), now()) else j.started_at end,
        ended_at = case when n.ended then now() end,
        dependents_due = n.ended and exists (select from dependencies d where d.on_job_id = j.id and d.met_at is null),
        version = j.version + 1
    from unnest(
        %s::bigint[], %s::text[], %s::text[], %s::text[], %s::boolean[], %s::int[], %s::text[], %s::text[], %s::text[],
        %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[],
        %s::int[], %s::text[], %s::jsonb[], %s::jsonb[], %s::boolean[], %s::boolean[]
    ) n (
        id, state, reason, message, cancelling, unmet, pending_less, pending_more, gated_less,
        pending, delayed, starting, running, stopping, succeeded, failed, cancelled, gated,
        exit_code, failure_class, progress, first_failure, started, ended
    )
    where j.id = n.id
    returning j.id, j.dependents_due
"""

_ADD_RESULTS = """
    insert into array_results as r (job_id, chunk, succeeded, failed, cancelled)
    select n.job_id, n.chunk, n.succeeded::int4multirange, n.failed::int4multirange, n.cancelled::int4multirange
    from unnest(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[]) n (job_id, chunk, succeeded, failed, cancelled)
    on conflict (job_id, chunk) do update set
        succeeded = r.succeeded + excluded.succeeded, failed = r.failed + excluded.failed, cancelled = r.cancelled + excluded.cancelled
"""

_ADD_NEWS = """
    insert into stage_news (job_id, succeeded, failed, cancelled)
    select n.job_id, n.succeeded::int4multirange, n.failed::int4multirange, n.cancelled::int4multirange
    from unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) n (job_id, succeeded, failed, cancelled)
"""

_DUE_JOBS = "select distinct job_id from (select job_id from retries where due_at <= now() order by due_at limit %s) due"

_TAKE_DUE = """
    update retries r set due_at = null
    from (
        select job_id, index from retries where due_at <= now() and job_id = any(%s) order by job_id, index limit %s for update
    ) due
    where r.job_id = due.job_id and r.index = due.index
    returning r.job_id, r.index
"""

_TAKE_DELAYED = """
    update retries set due_at = null
    where job_id = any(%s) and due_at is not null and (%s::int4multirange is null or index <@ %s::int4multirange)
    returning job_id, index
"""


def lock(tx: Transaction, job_ids: Iterable[int], *, with_pending: bool) -> list[dict[str, Any]]:
    """These jobs, locked in ascending id. `pending` (as text) only when asked for: it may be long."""
    ids = sorted(set(job_ids))
    return tx.all(_LOCK, (with_pending, ids)) if ids else []


def lock_of_runs(tx: Transaction, run_ids: Sequence[int]) -> Cursor[dict[str, Any]]:
    """All jobs of these locked runs, with `pending`, locked in ascending id."""
    return tx.execute(_LOCK_OF_RUNS, (True, list(run_ids)))


def write(tx: Transaction, columns: Sequence[Sequence[Any]]) -> list[int]:
    """Write locked jobs, columns in the order of the statement. Returns those whose dependents must now be told."""
    return [row["id"] for row in tx.all(_WRITE, [list(column) for column in columns]) if row["dependents_due"]]


def add_results(tx: Transaction, results: Sequence[tuple[int, int, IndexRanges, IndexRanges, IndexRanges]]) -> None:
    """Note finished indices of arrays: job, chunk, succeeded, failed, cancelled."""
    if results:
        jobs, chunks, *places = zip(*results, strict=True)
        texts = [[ranges.to_postgres() for ranges in place] for place in places]
        tx.execute(_ADD_RESULTS, [list(jobs), list(chunks), *texts])


def add_news(tx: Transaction, news: Sequence[tuple[int, IndexRanges, IndexRanges, IndexRanges]]) -> None:
    """Leave word for the controller of runs: job, succeeded, failed, cancelled."""
    jobs, *places = zip(*news, strict=True)
    tx.execute(_ADD_NEWS, [list(jobs), *([ranges.to_postgres() for ranges in place] for place in places)])


def by_chunk(ranges: IndexRanges) -> dict[int, IndexRanges]:
    """The same indices, cut at the borders of the rows that keep them."""
    parts: dict[int, list[tuple[int, int]]] = {}
    for start, stop in ranges.parts:
        for chunk in range(start // CHUNK, (stop - 1) // CHUNK + 1):
            parts.setdefault(chunk, []).append((max(start, chunk * CHUNK), min(stop, (chunk + 1) * CHUNK)))
    return {chunk: IndexRanges(tuple(some)) for chunk, some in parts.items()}


def due_jobs(tx: Transaction, limit: int) -> list[int]:
    """Jobs with an element whose back-off has passed."""
    return [row["job_id"] for row in tx.all(_DUE_JOBS, (limit,))]


def take_due(tx: Transaction, job_ids: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """End the back-off of elements of these locked jobs where it has passed."""
    return [(row["job_id"], row["index"]) for row in tx.all(_TAKE_DUE, (list(job_ids), limit))]


def take_delayed(tx: Transaction, job_ids: Sequence[int], indices: IndexRanges | None) -> list[tuple[int, int]]:
    """End the back-off of elements of these locked jobs at once."""
    ranges = None if indices is None else indices.to_postgres()
    return [(row["job_id"], row["index"]) for row in tx.all(_TAKE_DELAYED, (list(job_ids), ranges, ranges))]
