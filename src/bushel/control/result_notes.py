"""What finished partitions said: their results get keys, their records are counted, how long they took is remembered.

Guarantees: what is read and written follows what finished; a result gets its key in the transaction that takes word of its success, from
inputs that are themselves finished and so never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from bushel.control.open_partitions import keys_of
from bushel.control.result_keys import may_be_shared, result_digest, write_results
from bushel.control.run_state import News, RunState, StageState
from bushel.domain.ranges import IndexRanges
from bushel.store.database import Transaction

DURATIONS_KEPT = 64
DURATIONS_AT_ONCE = 8
MOMENTS_KEPT = 30
MOMENT_SECONDS = 2.0

_RESULTS = """
    select job_id, index, attempt, body, names, bad_count, key from element_results where job_id = %s and index <@ %s::int4multirange
"""

_DURATIONS = """
    select extract(epoch from a.ended_at - a.started_at)::float8 as seconds from attempts a
    where a.job_id = %s and a.index = any(%s) and a.outcome = 'succeeded' and a.started_at is not null
"""


def note_results(tx: Transaction, run: RunState) -> None:
    """Take in what the stages of a run said of themselves since they were last looked at."""
    for stage in run.stages.values():
        if stage.news is not None:
            _note(tx, run, stage, stage.news)


def _note(tx: Transaction, run: RunState, stage: StageState, news: News) -> None:
    fresh = [(job_id, ranges - stage.row["carried"]) for job_id, ranges in news.by_job]
    for job_id, ranges in fresh:
        if not ranges:
            continue
        said = {row["index"]: row for row in tx.all(_RESULTS, (job_id, ranges.to_postgres()))}
        for row in said.values():
            if row["attempt"]:
                _count_records(stage, row["body"])
        _give_keys(tx, run, stage, job_id, ranges & news.succeeded, said)
        _remember_durations(tx, stage, job_id, ranges & news.succeeded)
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


def _remember_durations(tx: Transaction, stage: StageState, job_id: int, indices: IndexRanges) -> None:
    some = list(indices.first(DURATIONS_AT_ONCE))
    if some:
        seconds = [round(row["seconds"], 3) for row in tx.all(_DURATIONS, (job_id, some))]
        known = stage.row["samples"].get("durations", [])
        stage.row["samples"]["durations"] = [*known, *seconds][-DURATIONS_KEPT:]
        stage.dirty = stage.dirty or bool(seconds)


def _remember_moment(tx: Transaction, stage: StageState) -> None:
    """How many were done when, every few seconds, for rates."""
    now, done = tx.now.timestamp(), stage.counted("succeeded", "failed", "cancelled")
    moments = stage.row["samples"].setdefault("moments", [])
    if not moments or now - moments[-1][0] >= MOMENT_SECONDS or done == stage.count:
        moments.append([round(now, 3), done])
        del moments[:-MOMENTS_KEPT]
        stage.dirty = True
