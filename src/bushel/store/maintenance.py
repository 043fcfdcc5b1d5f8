"""Windows in which nodes are worked on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bushel.store.database import Transaction


def of_node(tx: Transaction, node_id: int) -> list[dict[str, Any]]:
    """Its windows that are not over, the earliest first."""
    return tx.all(
        """
        select id, starts_at, ends_at, reason, planned_by from maintenance_windows
        where node_id = %s and ends_at > now() order by starts_at
        """,
        (node_id,),
    )


def insert(tx: Transaction, node_id: int, starts_at: datetime, ends_at: datetime, reason: str, planned_by: str) -> int:
    """The node must be locked, and have no other window at that time."""
    return tx.one(
        "insert into maintenance_windows (node_id, starts_at, ends_at, reason, planned_by) values (%s, %s, %s, %s, %s) returning id",
        (node_id, starts_at, ends_at, reason, planned_by),
    )["id"]


def delete(tx: Transaction, node_id: int, window_id: int) -> bool:
    """Whether there was such a window of this node."""
    query = "delete from maintenance_windows where node_id = %s and id = %s returning id"
    return tx.first(query, (node_id, window_id)) is not None


def forget_past(tx: Transaction, node_id: int) -> None:
    """Windows of a locked node that are over."""
    tx.execute("delete from maintenance_windows where node_id = %s and ends_at <= now()", (node_id,))
