"""What the database knows of logs: which exist, how long they were at the last look, which have ended.

The folder (`store.logs`) holds the bytes and is right about lengths; that a log has ended is recorded here alone, after
its bytes are safe.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from bushel.store.database import Transaction
from bushel.store.logs import LogId


@dataclass(frozen=True, slots=True)
class LogRow:
    log: LogId
    size_bytes: int
    first_byte: int
    ended: bool


def rank_counts(tx: Transaction, cluster_id: int, attempts: Collection[tuple[int, int, int]]) -> dict[tuple[int, int, int], int]:
    """Of those attempts that are of this cluster: how many ranks each has."""
    rows = tx.all(
        """
        select job_id, index, number, (select max((part -> 'ranks' ->> 1)::int) from jsonb_array_elements(placement) part) as ranks
        from attempts
        join unnest(%s::bigint[], %s::int[], %s::int[]) wanted (job_id, index, number) using (job_id, index, number)
        where cluster_id = %s
        """,
        (*_columns(attempts, 3), cluster_id),
    )
    return {(row["job_id"], row["index"], row["number"]): row["ranks"] or 0 for row in rows}


def ended_sizes(tx: Transaction, logs: Collection[LogId]) -> dict[LogId, int]:
    """Lengths of those logs that have ended."""
    rows = tx.all(
        """
        select job_id, index, attempt, rank, size_bytes
        from log_streams
        join unnest(%s::bigint[], %s::int[], %s::int[], %s::int[]) wanted (job_id, index, attempt, rank)
            using (job_id, index, attempt, rank)
        where ended_at is not null
        """,
        _columns([_key(log) for log in logs], 4),
    )
    return {LogId(row["job_id"], row["index"], row["attempt"], row["rank"]): row["size_bytes"] for row in rows}


def write(tx: Transaction, rows: Sequence[LogRow]) -> None:
    """One statement, in the order of the keys, so that two who write the same logs wait for each other only."""
    ordered = sorted(rows, key=lambda row: row.log)
    tx.execute(
        """
        insert into log_streams as old (job_id, index, attempt, rank, size_bytes, first_byte, ended_at)
        select job_id, index, attempt, rank, size_bytes, first_byte, case when ended then now() end
        from unnest(%s::bigint[], %s::int[], %s::int[], %s::int[], %s::bigint[], %s::bigint[], %s::boolean[])
            new (job_id, index, attempt, rank, size_bytes, first_byte, ended)
        on conflict (job_id, index, attempt, rank) do update set
            size_bytes = case when old.ended_at is null then greatest(old.size_bytes, excluded.size_bytes) else old.size_bytes end,
            first_byte = greatest(old.first_byte, excluded.first_byte),
            ended_at = coalesce(old.ended_at, excluded.ended_at)
        """,
        _columns([(*_key(row.log), row.size_bytes, row.first_byte, row.ended) for row in ordered], 7),
    )


@dataclass(frozen=True, slots=True)
class FollowedAttempt:
    """What a reader of logs must know of one attempt. `ended_sizes` are of ranks whose log has ended."""

    number: int
    newest: bool
    state: str
    outcome: str | None
    ranks: int
    started_ranks: frozenset[int]
    seconds_since_end: float
    ended_sizes: dict[int, int]


@dataclass(frozen=True, slots=True)
class FollowedElement:
    """One element of a job. `over`: it will have no further attempt."""

    job_state: str
    over: bool
    attempt: FollowedAttempt | None


def element(tx: Transaction, job_id: int, index: int, *, attempt: int | None, at_least: int = 0) -> FollowedElement:
    """An element with its attempt of that number, or with the first from `at_least` on (0: with its newest)."""
    job = tx.one(
        """
        select state, not (pending @> %(index)s::int
            or exists (select from retries r where r.job_id = %(job)s and r.index = %(index)s and due_at is not null)
            or exists (select from attempts a where a.job_id = %(job)s and a.index = %(index)s and a.state <> 'ended')) as over
        from jobs where id = %(job)s
        """,
        {"job": job_id, "index": index},
    )
    order = "desc" if attempt is None and at_least == 0 else "asc"
    row = tx.first(
        f"""
        select number, state, not exists (select from attempts later where later.job_id = %(job)s and later.index = %(index)s
                                          and later.number > attempts.number) as newest,
            outcome, tasks, extract(epoch from now() - ended_at)::float8 as seconds_since_end,
            (select max((part -> 'ranks' ->> 1)::int) from jsonb_array_elements(placement) part) as ranks
        from attempts
        where job_id = %(job)s and index = %(index)s and number >= %(least)s and (%(number)s::int is null or number = %(number)s)
        order by number {order}
        limit 1
        """,
        {"job": job_id, "index": index, "least": at_least, "number": attempt},
    )
    if row is None:
        return FollowedElement(job["state"], job["over"], None)
    sizes = tx.all(
        "select rank, size_bytes from log_streams where job_id = %s and index = %s and attempt = %s and ended_at is not null",
        (job_id, index, row["number"]),
    )
    followed = FollowedAttempt(
        number=row["number"],
        newest=row["newest"],
        state=row["state"],
        outcome=row["outcome"],
        ranks=row["ranks"] or 0,
        started_ranks=frozenset(task["rank"] for task in row["tasks"] if task.get("started_at")),
        seconds_since_end=row["seconds_since_end"] or 0.0,
        ended_sizes={size["rank"]: size["size_bytes"] for size in sizes},
    )
    return FollowedElement(job["state"], job["over"], followed)


def _key(log: LogId) -> tuple[int, int, int, int]:
    return log.job_id, log.index, log.attempt, log.rank


def _columns(rows: Collection[tuple[Any, ...]], count: int) -> list[list[Any]]:
    return [[row[column] for row in rows] for column in range(count)]
