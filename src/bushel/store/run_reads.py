"""What is shown of runs: counts, the state of partitions as ranges, who is slow.

Guarantees: the cost of a view follows the number of stages, sites and ranges, not that of partitions; a page costs the same wherever it
is in a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bushel.domain.ranges import IndexRanges
from bushel.store.database import Transaction

_PLACES = ("gated", "pending", "delayed", "starting", "running", "stopping", "succeeded", "failed", "cancelled")

_COUNTS = f"""
    select s.id, array_agg(j.id order by j.id) as jobs, {", ".join(f"sum(j.{place}_count)::int as {place}" for place in _PLACES)},
           min(j.started_at) as started_at
    from run_stages s join stage_jobs sj on sj.stage_id = s.id join jobs j on j.id = sj.job_id
    where s.run_id = any(%s) group by s.id
"""

_RESULTS = """
    select range_agg(succeeded)::text as succeeded, range_agg(failed)::text as failed, range_agg(cancelled)::text as cancelled
    from array_results where job_id = any(%s)
"""

_WAITING = """
    select range_agg(pending)::text as pending, range_agg(gated)::text as gated, sum(element_count) as count from jobs where id = any(%s)
"""

CELL_PLACES = ("succeeded", "failed", "cancelled", "live", "pending", "gated")
"""What is counted in a cell of a grid, in this order; what is in none of these waits to be tried again."""

_CELLS = """
    with shown as materialized (
        select s.id, sj.job_id, s.element_count::bigint as count, least(s.element_count, %(columns)s)::bigint as columns
        from run_stages s join stage_jobs sj on sj.stage_id = s.id where s.run_id = %(run)s and s.element_count > 0
    ), ranges as (
        select s.id, s.count, s.columns, 0 as place, unnest(a.succeeded) as r from shown s join array_results a on a.job_id = s.job_id
        union all
        select s.id, s.count, s.columns, 1, unnest(a.failed) from shown s join array_results a on a.job_id = s.job_id
        union all
        select s.id, s.count, s.columns, 2, unnest(a.cancelled) from shown s join array_results a on a.job_id = s.job_id
        union all
        select s.id, s.count, s.columns, 3, int4range(a.index, a.index + 1)
        from shown s join attempts a on a.job_id = s.job_id and a.state <> 'ended'
        union all
        select s.id, s.count, s.columns, 4, unnest(j.pending) from shown s join jobs j on j.id = s.job_id
        union all
        select s.id, s.count, s.columns, 5, unnest(j.gated) from shown s join jobs j on j.id = s.job_id
    ), parts as (
        select id, count, columns, place, lower(r) as start, upper(r) as stop,
               generate_series(lower(r) * columns / count, (upper(r) - 1) * columns / count) as cell
        from ranges
    ), counted as (
        select id, cell, place, sum(
            least(stop, ((cell + 1) * count + columns - 1) / columns) - greatest(start, (cell * count + columns - 1) / columns)
        ) as many
        from parts group by id, cell, place
    )
    select id, array_agg(cell::int) as cells, array_agg(place) as places, array_agg(many::int) as counts from counted group by id
"""

_LIVE = """
    select a.job_id, a.index, a.number, a.state, coalesce(a.started_at, a.created_at) as started_at,
           extract(epoch from now() - coalesce(a.started_at, a.created_at))::float8 as seconds, c.name as cluster, si.name as site,
           a.placement, a.progress
    from attempts a join clusters c on c.id = a.cluster_id join sites si on si.id = c.site_id
    where a.job_id = any(%s) and a.state <> 'ended' order by started_at limit %s
"""

_LIVE_INDICES = "select index from attempts where job_id = any(%s) and state <> 'ended' limit 100000"

_RECORDS = """
    select s.name as stage, s.position, s.set_id, e.job_id, e.index, e.attempt, e.bad_count, e.body -> 'records' as records
    from element_results e join stage_jobs sj on sj.job_id = e.job_id join run_stages s on s.id = sj.stage_id
    where s.run_id = %(run)s and e.bad_count > 0 and (s.position, e.job_id, e.index) > (%(position)s, %(job)s, %(index)s)
      and (%(stage)s::text is null or s.name = %(stage)s)
    order by s.position, e.job_id, e.index limit %(limit)s
"""

_FAILURES = """
    select distinct on (a.index) a.job_id, a.index, a.number, a.reason, a.message, a.exit_code, c.name as cluster
    from attempts a join clusters c on c.id = a.cluster_id
    where a.job_id = any(%s) and a.index = any(%s) and a.state = 'ended' order by a.index, a.number desc
"""

_DURATIONS = """
    select distinct on (s.name) s.name, s.samples -> 'durations' as durations, s.element_count as count
    from run_stages s join runs r on r.id = s.run_id
    where r.pipeline_id = %s and r.number > %s and jsonb_array_length(coalesce(s.samples -> 'durations', '[]')) > 0
    order by s.name, r.number desc
"""


def counts(tx: Transaction, run_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """By stage: its jobs, and where their elements are."""
    return {row["id"]: row for row in tx.all(_COUNTS, (list(run_ids),))}


def places(tx: Transaction, job_ids: Sequence[int]) -> dict[str, IndexRanges]:
    """The indices of a stage that succeeded, failed, were cancelled, may start, or wait; what is in none of these is live or delayed."""
    jobs = list(job_ids)
    row = {**tx.one(_RESULTS, (jobs,)), **tx.one(_WAITING, (jobs,))}
    return {name: IndexRanges.from_postgres(row[name] or "") for name in ("succeeded", "failed", "cancelled", "pending", "gated")}


def cells(tx: Transaction, run_id: int, columns: int) -> dict[int, list[tuple[int, int, int]]]:
    """By stage: cell (of at most so many), number of the place in `CELL_PLACES`, how many partitions, where there are any.

    They are counted where they are kept, so that what is read does not follow how scattered they are.
    """
    rows = tx.all(_CELLS, {"run": run_id, "columns": columns})
    return {row["id"]: list(zip(row["cells"], row["places"], row["counts"], strict=True)) for row in rows}


def live(tx: Transaction, job_ids: Sequence[int], limit: int) -> list[dict[str, Any]]:
    """Live attempts, those that run longest first."""
    return tx.all(_LIVE, (list(job_ids), limit))


def live_indices(tx: Transaction, job_ids: Sequence[int]) -> IndexRanges:
    return IndexRanges.of_indices(row["index"] for row in tx.all(_LIVE_INDICES, (list(job_ids),)))


def records(tx: Transaction, run_id: int, stage: str | None, after: tuple[int, int, int], limit: int) -> list[dict[str, Any]]:
    """Partitions of which records were set aside, in the order of stage, job and index."""
    position, job, index = after
    return tx.all(_RECORDS, {"run": run_id, "stage": stage, "position": position, "job": job, "index": index, "limit": limit})


def last_attempts(tx: Transaction, job_ids: Sequence[int], indices: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The last attempt of each of these indices that has ended."""
    return {row["index"]: row for row in tx.all(_FAILURES, (list(job_ids), list(indices)))}


def durations(tx: Transaction, pipeline_id: int, newer_than: int) -> dict[str, tuple[list[float], int | None]]:
    """How long partitions took lately, and how many there were, by stage."""
    return {row["name"]: (row["durations"], row["count"]) for row in tx.all(_DURATIONS, (pipeline_id, newer_than))}


_CPUS = """
    select coalesce(sum((n.capacity ->> 'cpu')::bigint), 0)::bigint as milli from nodes n
    where n.state = 'ready' and n.cordoned_at is null
"""


def cpus(tx: Transaction) -> float:
    """Of all nodes that may be used."""
    return tx.one(_CPUS)["milli"] / 1000
