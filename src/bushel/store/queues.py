"""Queues: a tree of shares, each owned by a team or the organisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from bushel.domain.errors import Conflict
from bushel.domain.resources import Amounts
from bushel.store.database import Transaction

_SELECT = """
    select q.id, q.name, q.scope_id, s.path as scope, q.parent_id, p.name as parent, ps.path as parent_scope,
           q.weight, q.resource_quota, q.guarantee, q.lending, q.borrowing, q.job_quota, q.version, q.created_at
    from queues q join scopes s on s.id = q.scope_id
    left join queues p on p.id = q.parent_id left join scopes ps on ps.id = p.scope_id
"""

_LIST = (
    _SELECT
    + """
    where q.name > %(after)s
      and exists (select 1 from unnest(%(paths)s::text[]) mine
                  where s.path = mine or starts_with(s.path, mine || '/') or starts_with(mine, s.path || '/'))
    order by q.name limit %(limit)s
"""
)


def find(tx: Transaction, name: str) -> dict[str, Any] | None:
    return tx.first(_SELECT + " where q.name = %s", (name,))


def lock_tree(tx: Transaction) -> None:
    """Let nobody else change queues until this transaction ends: what one may be promised depends on the others."""
    tx.execute("lock table queues in share row exclusive mode")


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What can be changed of a queue."""

    weight: int = 1000
    resource_quota: Amounts = field(default_factory=dict)
    guarantee: Amounts = field(default_factory=dict)
    lending: Amounts = field(default_factory=dict)
    borrowing: Amounts = field(default_factory=dict)
    job_quota: int | None = None

    def row(self) -> dict[str, Any]:
        return {name: Jsonb(value) if isinstance(value, dict) else value for name, value in asdict(self).items()}


def create(tx: Transaction, name: str, scope_id: int, *, parent_id: int | None, settings: QueueSettings) -> int:
    """The new queue's number.

    Raises:
        Conflict: the name is taken.
    """
    row = tx.first(
        """insert into queues (name, scope_id, parent_id, weight, resource_quota, guarantee, lending, borrowing, job_quota)
           values (%(name)s, %(scope_id)s, %(parent_id)s, %(weight)s, %(resource_quota)s, %(guarantee)s, %(lending)s, %(borrowing)s,
                   %(job_quota)s)
           on conflict (name) do nothing returning id""",
        {"name": name, "scope_id": scope_id, "parent_id": parent_id, **settings.row()},
    )
    if row is None:
        raise Conflict(f"there is a queue {name} already")
    return row["id"]


def change(tx: Transaction, queue_id: int, settings: QueueSettings) -> None:
    tx.execute(
        """update queues set weight = %(weight)s, resource_quota = %(resource_quota)s, guarantee = %(guarantee)s, lending = %(lending)s,
                             borrowing = %(borrowing)s, job_quota = %(job_quota)s, version = version + 1
           where id = %(queue_id)s""",
        {"queue_id": queue_id, **settings.row()},
    )


def remove(tx: Transaction, queue_id: int, name: str) -> None:
    """
    Raises:
        Conflict: jobs, projects or queues still use it.
    """
    try:
        with tx.connection.transaction():
            tx.execute("delete from queues where id = %s", (queue_id,))
    except psycopg.errors.ForeignKeyViolation as error:
        raise Conflict(f"the queue {name} is in use by {error.diag.table_name}") from error


def listed(tx: Transaction, paths: Sequence[str], after: str, limit: int) -> list[dict[str, Any]]:
    """Queues at, above or below `paths`, in order of name."""
    return tx.all(_LIST, {"paths": list(paths), "after": after, "limit": limit})
