"""What finished partitions said: their results get keys, their records are counted, where they ran and how long is remembered.

Guarantees: what is read and written follows what finished; a result gets its key in the transaction that takes word of its success, from
inputs that are themselves finished and so never change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from bushel.control.open_partitions import keys_of
from bushel.control.result_keys import may_be_shared, result_digest, write_results
from bushel.control.run_state import NOTHING, News, RunState, Said, StageState
from bushel.domain.ranges import IndexRanges
from bushel.store.database import Transaction

DURATIONS_KEPT = 64
DURATIONS_AT_ONCE = 8
MOMENTS_KEPT = 30
MOMENT_SECONDS = 2.0
SPENT = ("partitions", "attempts", "seconds", "cpu_seconds")

_RESULTS = """
    select e.job_id, e.index, e.attempt, e.body, e.names, e.bad_count, e.key
    from unnest(%s::bigint[], %s::text[]) n (job_id, indices), unnest(n.indices::int4multirange) r,
         lateral (  -- by its key and range by range, whatever the planner believes of how many there are
             select * from element_results e where e.job_id = n.job_id and e.index >= lower(r) and e.index < upper(r) offset 0
         ) e
"""

_SPENT = """
    select n.job_id, c.name as cluster, s.name as site, count(distinct a.index)::int as partitions, count(*)::int as attempts,
           sum(extract(epoch from a.ended_at - coalesce(a.started_at, a.ended_at)))::float8 as seconds,
           coalesce(sum((a.usage ->> 'cpu_seconds')::float8), 0) as cpu_seconds,
           (array_agg(round(extract(epoch from a.ended_at - a.started_at), 3)::float8 order by a.index)
               filter (where a.outcome = 'succeeded' and a.started_at is not null))[:%s] as durations
    from unnest(%s::bigint[], %s::text[]) n (job_id, indices), unnest(n.indices::int4multirange) r,
         lateral (  -- as above
             select * from attempts a where a.job_id = n.job_id and a.index >= lower(r) and a.index < upper(r) offset 0
         ) a join clusters c on c.id = a.cluster_id join sites s on s.id = c.site_id
    group by n.job_id, c.name, s.name
"""


def ask_what_was_said(tx: Transaction, news: Sequence[Mapping[str, Any]]) -> Callable[[], Said]:
    """Of all that finished, at once; called, what it returns waits for the answers."""
    if not news:
        return Said
    ranges = [row["succeeded"] | row["failed"] for row in news]
    finished = ([row["job_id"] for row in news], [some.to_postgres() for some in ranges])
    results, spent = tx.execute(_RESULTS, finished), tx.execute(_SPENT, (DURATIONS_AT_ONCE, *finished))
    return lambda: Said(_by_job(results.fetchall()), _by_job(spent.fetchall()))


def _by_job(rows: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["job_id"], []).append(row)
    return found


def note_results(tx: Transaction, run: RunState) -> None:
    """Take in what the stages of a run said of themselves since they were last looked at."""
    for stage in run.stages.values():
        if stage.news is not None:
            _note(tx, run, stage, stage.news)


def _note(tx: Transaction, run: RunState, stage: StageState, news: News) -> None:
    fresh: dict[int, IndexRanges] = {}
    for job_id, ranges in news.by_job:
        fresh[job_id] = fresh.get(job_id, NOTHING) | (ranges - stage.row["carried"])
    for job_id, ranges in fresh.items():
        if not ranges:
            continue
        said = {row["index"]: row for row in run.said.results.get(job_id, ())}
        for row in said.values():
            if row["attempt"]:
                _count_records(stage, row["body"])
        _give_keys(tx, run, stage, job_id, ranges & news.succeeded, said)
        spent = run.said.spent.get(job_id, ())
        _remember_durations(stage, [seconds for row in spent for seconds in row["durations"] or ()])
        _add_up(stage, spent)
    _remember_moment(tx, stage)


def _give_keys(
    tx: Transaction, run: RunState, stage: StageState, job_id: int, indices: IndexRanges, said: Mapping[int, Mapping[str, Any]]
) -> None:
    shared = may_be_shared(stage.definition)
    without = indices - IndexRanges.of_indices(index for index, row in said.items() if row["key"] is not None)
    keys = keys_of(tx, run, stage, without) if shared and without else {}
    rows: list[tuple[Any, ...]] = []
    for index in keys.keys() | (said.keys() & set(without)):
        row = said.get(index) or {"attempt": 1, "body": None, "names": None, "bad_count": 0}
        key = keys.get(index)
        digest = result_digest(row["body"], key)
        if key is not None or digest is not None:
            body = None if row["body"] is None else Jsonb(row["body"])
            rows.append((job_id, index, row["attempt"], body, row["names"], key, digest, row["bad_count"], None, None))
    write_results(tx, rows)


def _count_records(stage: StageState, body: Mapping[str, Any] | None) -> None:
    records = (body or {}).get("records")
    if isinstance(records, Mapping):
        stage.row["records_total"] += _whole(records.get("total"))
        stage.row["records_bad"] += _whole(records.get("bad"))
        stage.dirty = True


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 2**53 else 0


def _remember_durations(stage: StageState, seconds: Sequence[float]) -> None:
    if seconds:
        known = stage.row["samples"].get("durations", [])
        stage.row["samples"]["durations"] = [*known, *seconds][-DURATIONS_KEPT:]
        stage.dirty = True


def _add_up(stage: StageState, spent: Sequence[Mapping[str, Any]]) -> None:
    """By cluster: what all attempts at the partitions that finished took there."""
    for row in spent:
        total = stage.row["samples"].setdefault("spent", {}).setdefault(row["cluster"], {})
        total["site"] = row["site"]
        for name in SPENT:
            total[name] = round(total.get(name, 0) + row[name], 3)
        stage.dirty = True


def _remember_moment(tx: Transaction, stage: StageState) -> None:
    """How many were done when, every few seconds, for rates."""
    now, done = tx.now.timestamp(), stage.counted("succeeded", "failed", "cancelled")
    moments = stage.row["samples"].setdefault("moments", [])
    if not moments or now - moments[-1][0] >= MOMENT_SECONDS or done == stage.count:
        moments.append([round(now, 3), done])
        del moments[:-MOMENTS_KEPT]
        stage.dirty = True
