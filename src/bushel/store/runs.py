"""Runs, their stages, and the jobs of these.

Guarantees: whoever changes a run locks its row first, then the jobs; what finished is taken from `stage_news` in the transaction that
acts on it, so it is acted on once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from bushel.domain.ranges import IndexRanges
from bushel.store import elements
from bushel.store.database import Transaction

_TAKE_NEWS = """
    delete from stage_news w using stage_jobs wj, run_stages ws, runs r
    where w.id = any(array(
        select n.id from stage_news n join stage_jobs j on j.job_id = n.job_id join run_stages s on s.id = j.stage_id
        where (%(only)s::bigint is null or s.run_id = %(only)s) and s.run_id <> all(%(without)s) order by n.id limit %(limit)s
    )) and wj.job_id = w.job_id and ws.id = wj.stage_id and r.id = ws.run_id
    returning w.id, w.job_id, w.succeeded::text as succeeded, w.failed::text as failed, w.cancelled::text as cancelled,
              r.id as run_id, r.pipeline_id, r.version
"""

_DUE = """
    (select id as run_id, pipeline_id, version from runs where due order by id limit %(limit)s) union
    (select id, pipeline_id, version from runs where ended_at is null and deadline_at <= now() and state = 'running' limit %(limit)s)
"""

_RUN_COLUMNS = """
    r.id, r.pipeline_id, r.project_id, r.queue_id, r.submitter_id, r.number, r.version, r.base_id, r.state, r.reason, r.message, r.backfill,
    r.paused, r.parameters, r.inputs, r.redo, r.canary, r.deadline_at, r.row_version, r.submitted_at,
    r.ended_at, r.results_freed_at, p.name as pipeline, p.paused as pipeline_paused, s.path as project
"""

_RUN_FROM = "from runs r join pipelines p on p.id = r.pipeline_id join scopes s on s.id = r.project_id"

_LOCK = f"select {_RUN_COLUMNS} {_RUN_FROM} where r.id = any(%s) order by r.id for update of r"

_STAGES = """
    select id, run_id, position, name, set_id, element_count, state, message, parts, base_stage_id, carried::text as carried,
           left_out::text as left_out, cached_count, records_total, records_bad, samples, outputs, ended_at
    from run_stages where run_id = any(%s) order by run_id, position
"""

_JOBS = """
    select sj.job_id, sj.stage_id, sj.site, sj.ready::text as ready from stage_jobs sj join run_stages s on s.id = sj.stage_id
    where s.run_id = any(%s) order by sj.job_id
"""

_INSERT_JOBS = """
    insert into jobs (
        project_id, queue_id, submitter_id, name, labels, spec, state, reason, priority, element_count, pending, pending_count, is_stage,
        gated, gated_count, succeeded_count, cancelled_count, user_hold, ended_at
    )
    select n.project_id, n.queue_id, n.submitter_id, n.name, n.labels, n.spec, n.state, n.reason, n.priority, n.element_count,
           '{}', 0, true, n.gated::int4multirange, n.gated_count, n.succeeded_count, n.cancelled_count, n.user_hold,
           case when n.gated_count = 0 then now() end
    from rows from (
        jsonb_to_recordset(%s) as (
            project_id bigint, queue_id bigint, submitter_id bigint, name text, labels jsonb, spec jsonb, state text, reason text,
            priority smallint, element_count int, gated text, gated_count int, succeeded_count int, cancelled_count int, user_hold boolean
        )
    ) with ordinality n order by n.ordinality
    returning id
"""

_WRITE_STAGES = """
    update run_stages s set state = n.state, message = n.message, set_id = n.set_id, element_count = n.element_count,
        cached_count = n.cached_count, records_total = n.records_total, records_bad = n.records_bad, samples = n.samples,
        outputs = n.outputs, ended_at = case when n.state in ('succeeded', 'failed', 'cancelled') then coalesce(s.ended_at, now()) end
    from jsonb_to_recordset(%s) as n (
        id bigint, state text, message text, set_id bigint, element_count int, cached_count int, records_total bigint, records_bad bigint,
        samples jsonb, outputs jsonb
    )
    where s.id = n.id
"""


Later = Callable[[], list[dict[str, Any]]]
"""Rows that were asked for; called, it waits for them. See `Transaction.together`."""


def take_news(tx: Transaction, limit: int, *, only: int | None = None, without: Sequence[int] = ()) -> Later:
    """What finished and was not looked at, oldest first, with its run; of one run only, or without that of some."""
    asked = tx.execute(_TAKE_NEWS, {"limit": limit, "only": only, "without": list(without)})
    return lambda: _news(asked.fetchall())


def _news(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        for place in ("succeeded", "failed", "cancelled"):
            row[place] = IndexRanges.from_postgres(row[place])
    return sorted(rows, key=lambda row: row["id"])


def with_news(tx: Transaction) -> list[int]:
    """Runs of which something finished and was not looked at."""
    rows = tx.all(
        "select distinct s.run_id from stage_news n join stage_jobs j on j.job_id = n.job_id join run_stages s on s.id = j.stage_id"
    )
    return [row["run_id"] for row in rows]


def due(tx: Transaction, limit: int) -> Later:
    """Runs that somebody changed, and those past their deadline: run, pipeline, version."""
    return tx.execute(_DUE, {"limit": limit}).fetchall


def live_of_pipelines(tx: Transaction, pipeline_ids: Iterable[int]) -> list[int]:
    """Runs of these pipelines that have not ended."""
    return [row["id"] for row in tx.all("select id from runs where pipeline_id = any(%s) and ended_at is null", (list(pipeline_ids),))]


def one(tx: Transaction, run_id: int) -> Later:
    """Run, pipeline, version."""
    return tx.execute("select id as run_id, pipeline_id, version from runs where id = %s", (run_id,)).fetchall


def lock(tx: Transaction, run_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """In ascending id."""
    return {row["id"]: row for row in tx.all(_LOCK, (sorted(set(run_ids)),))}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows of runs, their stages and jobs. The runs and the jobs are locked."""

    runs: list[dict[str, Any]]
    stages: list[dict[str, Any]]
    stage_jobs: list[dict[str, Any]]
    jobs: list[dict[str, Any]]


def load(tx: Transaction, run_ids: Iterable[int]) -> Callable[[], Loaded]:
    """Lock runs, then all of their jobs, each in ascending id; called, what it returns waits for them."""
    ids = sorted(set(run_ids))
    locked, found, placed = tx.execute(_LOCK, (ids,)), tx.execute(_STAGES, (ids,)), tx.execute(_JOBS, (ids,))
    jobs = elements.lock_of_runs(tx, ids)
    return lambda: Loaded(locked.fetchall(), _with_ranges(found.fetchall()), _with_ready(placed.fetchall()), jobs.fetchall())


def read(tx: Transaction, run_id: int) -> dict[str, Any] | None:
    return tx.first(
        f"select {_RUN_COLUMNS}, by.name as submitter {_RUN_FROM} join principals by on by.id = r.submitter_id where r.id = %s", (run_id,)
    )


def find(tx: Transaction, pipeline_id: int, number: int | None) -> int | None:
    """The run of that number, or the newest."""
    if number is None:
        row = tx.first("select id from runs where pipeline_id = %s order by number desc limit 1", (pipeline_id,))
    else:
        row = tx.first("select id from runs where pipeline_id = %s and number = %s", (pipeline_id, number))
    return row["id"] if row else None


def page(tx: Transaction, pipeline_id: int, before: int, limit: int) -> list[dict[str, Any]]:
    """Newest first."""
    return tx.all(
        f"select {_RUN_COLUMNS}, by.name as submitter {_RUN_FROM} join principals by on by.id = r.submitter_id "
        "where r.pipeline_id = %s and r.number < %s order by r.number desc limit %s",
        (pipeline_id, before, limit),
    )


def stages(tx: Transaction, run_ids: Iterable[int]) -> list[dict[str, Any]]:
    """In the order of run and position."""
    return _with_ranges(tx.all(_STAGES, (list(run_ids),)))


def _with_ranges(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        row["carried"], row["left_out"] = IndexRanges.from_postgres(row["carried"]), IndexRanges.from_postgres(row["left_out"])
    return rows


def jobs(tx: Transaction, run_ids: Iterable[int]) -> list[dict[str, Any]]:
    return _with_ready(tx.all(_JOBS, (list(run_ids),)))


def _with_ready(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        row["ready"] = IndexRanges.from_postgres(row["ready"])
    return rows


def insert(tx: Transaction, run: Mapping[str, Any]) -> int:
    columns = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in run.items()}
    names = ", ".join(columns)
    return tx.one(f"insert into runs ({names}) values ({', '.join(['%s'] * len(columns))}) returning id", list(columns.values()))["id"]


def insert_stage(tx: Transaction, stage: Mapping[str, Any]) -> int:
    columns = {
        name: Jsonb(value) if isinstance(value, dict) else value.to_postgres() if isinstance(value, IndexRanges) else value
        for name, value in stage.items()
    }
    names = ", ".join(columns)
    return tx.one(f"insert into run_stages ({names}) values ({', '.join(['%s'] * len(columns))}) returning id", list(columns.values()))[
        "id"
    ]


def insert_jobs(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Jobs of stages, everything gated but what is finished already. Numbers in the order of the rows."""
    numbers = sorted(row["id"] for row in tx.all(_INSERT_JOBS, (Jsonb([dict(row) for row in rows]),)))
    labels = [
        (row["project_id"], f"{key}={value}", number)
        for row, number in zip(rows, numbers, strict=True)
        for key, value in row["labels"].items()
    ]
    if labels:
        tx.execute(
            "insert into job_labels (project_id, label, job_id) select * from unnest(%s::bigint[], %s::text[], %s::bigint[])",
            [list(column) for column in zip(*labels, strict=True)],
        )
    return numbers


def insert_stage_jobs(tx: Transaction, rows: Sequence[tuple[int, int, str | None, IndexRanges]]) -> None:
    """Job, stage, site, and what is ready."""
    tx.execute(
        "insert into stage_jobs (job_id, stage_id, site, ready) select job_id, stage_id, site, ready::int4multirange "
        "from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[]) n (job_id, stage_id, site, ready)",
        ([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], [r[3].to_postgres() for r in rows]),
    )


def finish_early(tx: Transaction, rows: Sequence[tuple[int, IndexRanges, IndexRanges]]) -> None:
    """Of new jobs: what is finished from the beginning, as succeeded and as cancelled."""
    empty = IndexRanges()
    results = []
    for job_id, succeeded, cancelled in rows:
        first, second = elements.by_chunk(succeeded), elements.by_chunk(cancelled)
        results += [(job_id, chunk, first.get(chunk, empty), empty, second.get(chunk, empty)) for chunk in sorted({*first, *second})]
    elements.add_results(tx, results)
    if rows:
        elements.add_news(tx, [(job_id, succeeded, empty, cancelled) for job_id, succeeded, cancelled in rows])


def write_ready(tx: Transaction, rows: Sequence[tuple[int, IndexRanges]]) -> None:
    if rows:
        tx.execute(
            "update stage_jobs j set ready = n.ready::int4multirange from unnest(%s::bigint[], %s::text[]) n (job_id, ready) "
            "where j.job_id = n.job_id",
            ([job_id for job_id, _ in rows], [ready.to_postgres() for _, ready in rows]),
        )


def write_stages(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        tx.execute(_WRITE_STAGES, (Jsonb([dict(row) for row in rows]),))


def write_run(tx: Transaction, run_id: int, *, state: str, reason: str | None, message: str | None, due: bool) -> None:
    tx.execute(
        "update runs set state = %s, reason = %s, message = %s, due = %s, row_version = row_version + 1, "
        "ended_at = case when %s in ('succeeded', 'failed', 'cancelled') then coalesce(ended_at, now()) end where id = %s",
        (state, reason, message, due, state, run_id),
    )


def write_canary(tx: Transaction, run_id: int, canary: Mapping[str, Any]) -> None:
    tx.execute("update runs set canary = %s where id = %s", (Jsonb(dict(canary)), run_id))


def set_due(tx: Transaction, run_ids: Sequence[int], due: bool) -> None:
    tx.execute("update runs set due = %s where id = any(%s)", (due, list(run_ids)))


def set_paused(tx: Transaction, run_id: int, paused: bool) -> None:
    tx.execute("update runs set paused = %s, due = true, row_version = row_version + 1 where id = %s", (paused, run_id))


def finished(tx: Transaction, job_ids: Sequence[int], within: IndexRanges, *, on_end: bool) -> IndexRanges:
    """Which of these indices have succeeded in any of these jobs; `on_end`: or ended otherwise."""
    chunks = list(elements.by_chunk(within))
    what = "range_agg(succeeded) + range_agg(failed) + range_agg(cancelled)" if on_end else "range_agg(succeeded)"
    row = tx.one(f"select ({what})::text as done from array_results where job_id = any(%s) and chunk = any(%s)", (list(job_ids), chunks))
    return IndexRanges.from_postgres(row["done"] or "") & within
