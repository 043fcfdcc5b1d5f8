"""Which jobs wait for which, and for what end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bushel.store.database import Transaction


def due(tx: Transaction, limit: int) -> list[int]:
    """Ended jobs whose dependents have not been told."""
    return [row["id"] for row in tx.all("select id from jobs where dependents_due order by id limit %s", (limit,))]


def dependents(tx: Transaction, on_job_ids: Sequence[int], limit: int) -> list[dict[str, Any]]:
    """Open dependencies on these jobs, with how those ended."""
    return tx.all(
        """
        select d.job_id, d.on_job_id, d.condition, o.state as ended_as
        from dependencies d join jobs o on o.id = d.on_job_id
        where d.on_job_id = any(%s) and d.met_at is null
        order by d.on_job_id, d.job_id limit %s
        """,
        (list(on_job_ids), limit),
    )


def close(tx: Transaction, rows: Sequence[tuple[int, int, str]]) -> list[int]:
    """These (job, on_job, condition) are decided. The jobs of those that were still open, once for each."""
    if not rows:
        return []
    closed = tx.all(
        """
        update dependencies d set met_at = now()
        from unnest(%s::bigint[], %s::bigint[], %s::text[]) n (job_id, on_job_id, condition)
        where (d.job_id, d.on_job_id, d.condition) = (n.job_id, n.on_job_id, n.condition) and d.met_at is null
        returning d.job_id
        """,
        [list(column) for column in zip(*rows, strict=True)],
    )
    return [row["job_id"] for row in closed]


def settle(tx: Transaction, on_job_ids: Sequence[int]) -> int:
    """Note which of these ended jobs have told all of their dependents. How many have."""
    rows = tx.all(
        """
        update jobs j set dependents_due = false
        where j.id = any(%s) and j.dependents_due
              and not exists (select from dependencies d where d.on_job_id = j.id and d.met_at is null)
        returning 1 as settled
        """,
        (list(on_job_ids),),
    )
    return len(rows)


def of_job(tx: Transaction, job_id: int) -> list[dict[str, Any]]:
    """What a job waits, or waited, for."""
    return tx.all(
        """
        select d.on_job_id, d.condition, d.met_at, o.name, o.state
        from dependencies d join jobs o on o.id = d.on_job_id where d.job_id = %s order by d.on_job_id
        """,
        (job_id,),
    )
