"""The tenancy tree: organisation, team, project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from bushel.domain.errors import Conflict
from bushel.domain.permissions import ScopeKind
from bushel.store.database import Transaction

KINDS = (ScopeKind.ORG, ScopeKind.TEAM, ScopeKind.PROJECT)
"""By depth."""

_SELECT = """
    select s.id, s.kind, s.path, s.name, s.parent_id, s.queue_id, q.name as queue, s.created_at
    from scopes s left join queues q on q.id = s.queue_id
"""

_LIST = (
    _SELECT
    + """
    where exists (select 1 from unnest(%(paths)s::text[]) p where s.path = p or starts_with(s.path, p || '/'))
      and s.path > %(after)s
    order by s.path limit %(limit)s
"""
)


def find(tx: Transaction, path: str) -> dict[str, Any] | None:
    return tx.first(_SELECT + " where s.path = %s", (path,))


def lock(tx: Transaction, scope_id: int) -> None:
    """Until the transaction ends, nobody else changes what hangs on this scope."""
    tx.execute("select 1 from scopes where id = %s for update", (scope_id,))


def create(tx: Transaction, path: str, parent_id: int | None, queue_id: int | None = None) -> int:
    """The new scope's number.

    Raises:
        Conflict: there is one of that path.
    """
    parts = path.split("/")
    row = tx.first(
        "insert into scopes (kind, parent_id, name, path, queue_id) values (%s, %s, %s, %s, %s) on conflict (path) do nothing returning id",
        (KINDS[len(parts) - 1], parent_id, parts[-1], path, queue_id),
    )
    if row is None:
        raise Conflict(f"there is a scope {path} already")
    return row["id"]


def set_queue(tx: Transaction, scope_id: int, queue_id: int) -> None:
    tx.execute("update scopes set queue_id = %s where id = %s", (queue_id, scope_id))


def remove(tx: Transaction, scope_id: int, path: str) -> None:
    """With its role bindings and secrets.

    Raises:
        Conflict: something else still belongs to it.
    """
    tx.execute("delete from role_bindings where scope_id = %s", (scope_id,))
    tx.execute("delete from secrets where scope_id = %s", (scope_id,))
    try:
        with tx.connection.transaction():
            tx.execute("delete from scopes where id = %s", (scope_id,))
    except psycopg.errors.ForeignKeyViolation as error:
        raise Conflict(f"{path} is not empty: it has {error.diag.table_name}") from error


def listed(tx: Transaction, paths: Sequence[str], after: str, limit: int) -> list[dict[str, Any]]:
    """Scopes at or below `paths`, in order of path."""
    return tx.all(_LIST, {"paths": list(paths), "after": after, "limit": limit})
