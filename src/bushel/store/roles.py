"""Who holds which role where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bushel.domain.permissions import Role
from bushel.store.database import Transaction

_LIST = """
    select p.name as principal, s.path as scope, b.role, b.created_at
    from role_bindings b join principals p on p.id = b.principal_id join scopes s on s.id = b.scope_id
    where exists (select 1 from unnest(%(paths)s::text[]) mine where s.path = mine or starts_with(s.path, mine || '/'))
      and (%(principal)s::text is null or p.name = %(principal)s)
      and (s.path, p.name) > (%(after_scope)s, %(after_principal)s)
    order by s.path, p.name limit %(limit)s
"""

_ENABLED_ADMINS = """
    select count(*) as count from role_bindings b join principals p on p.id = b.principal_id
    where b.scope_id = %s and b.role = 'admin' and p.disabled_at is null
"""


def of_principal(tx: Transaction, principal_id: int) -> dict[str, Role]:
    """Scope path → role."""
    rows = tx.all(
        "select s.path, b.role from role_bindings b join scopes s on s.id = b.scope_id where b.principal_id = %s", (principal_id,)
    )
    return {row["path"]: Role(row["role"]) for row in rows}


def grant(tx: Transaction, principal_id: int, scope_id: int, role: Role) -> dict[str, Any]:
    """One principal has one role at one scope: the last one granted. Its row."""
    return tx.one(
        """insert into role_bindings (principal_id, scope_id, role) values (%s, %s, %s)
           on conflict (principal_id, scope_id) do update set role = excluded.role returning role, created_at""",
        (principal_id, scope_id, role),
    )


def remove(tx: Transaction, principal_id: int, scope_id: int) -> Role | None:
    """The role that was held."""
    row = tx.first("delete from role_bindings where principal_id = %s and scope_id = %s returning role", (principal_id, scope_id))
    return Role(row["role"]) if row else None


def count_enabled_admins(tx: Transaction, scope_id: int) -> int:
    """Bound to this very scope."""
    return tx.one(_ENABLED_ADMINS, (scope_id,))["count"]


def listed(tx: Transaction, paths: Sequence[str], principal: str | None, after: tuple[str, str], limit: int) -> list[dict[str, Any]]:
    """Bindings at or below `paths`, in order of scope and principal."""
    return tx.all(
        _LIST, {"paths": list(paths), "principal": principal, "after_scope": after[0], "after_principal": after[1], "limit": limit}
    )
