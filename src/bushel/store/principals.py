"""Users, service accounts and agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bushel.domain.errors import Conflict
from bushel.store.database import Transaction

_SELECT = """
    select p.id, p.kind, p.name, p.disabled_at, p.created_at, s.path as scope
    from principals p left join scopes s on s.id = p.scope_id
"""

_LIST = (
    _SELECT
    + """
    where p.kind <> 'agent' and p.name > %(after)s
      and (p.id = %(self)s
           or exists (select 1 from unnest(%(paths)s::text[]) mine
                      where s.path = mine or starts_with(s.path, mine || '/') or starts_with(mine, s.path || '/')))
    order by p.name limit %(limit)s
"""
)


def find(tx: Transaction, name: str) -> dict[str, Any] | None:
    """A user or a service account; agents are the fleet's affair."""
    return tx.first(_SELECT + " where p.name = %s and p.kind <> 'agent'", (name,))


def create(tx: Transaction, kind: str, name: str, scope_id: int) -> int:
    """The new principal's number.

    Raises:
        Conflict: the name is taken.
    """
    row = tx.first(
        "insert into principals (kind, name, scope_id) values (%s, %s, %s) on conflict (name) do nothing returning id",
        (kind, name, scope_id),
    )
    if row is None:
        raise Conflict(f"there is a principal {name} already")
    return row["id"]


def set_disabled(tx: Transaction, principal_id: int, disabled: bool) -> None:
    tx.execute(
        "update principals set disabled_at = case when %s then coalesce(disabled_at, now()) end where id = %s", (disabled, principal_id)
    )


def listed(tx: Transaction, self_id: int, paths: Sequence[str], after: str, limit: int) -> list[dict[str, Any]]:
    """Oneself, and those who belong at, above or below `paths`, in order of name."""
    return tx.all(_LIST, {"self": self_id, "paths": list(paths), "after": after, "limit": limit})
