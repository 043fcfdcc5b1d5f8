"""Ciphertexts of secrets. What opens them lies outside the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bushel.store.database import Transaction

_PUT = """
    insert into secrets (scope_id, name, nonce, ciphertext, key_id, changed_by) values (%s, %s, %s, %s, %s, %s)
    on conflict (scope_id, name) do update set nonce = excluded.nonce, ciphertext = excluded.ciphertext, key_id = excluded.key_id,
        changed_by = excluded.changed_by, changed_at = now()
    returning changed_at
"""

_NEAREST = """
    with recursive places as (
        select id, parent_id, 0 as distance from scopes where id = %(scope)s
        union all
        select s.id, s.parent_id, distance + 1 from scopes s join places p on s.id = p.parent_id
    )
    select distinct on (x.name) x.name, x.scope_id, x.nonce, x.ciphertext, x.key_id
    from places join secrets x on x.scope_id = places.id
    where x.name = any(%(names)s)
    order by x.name, distance
"""

_LIST = """
    select x.name, s.path as scope, x.changed_at, p.name as changed_by
    from secrets x join scopes s on s.id = x.scope_id join principals p on p.id = x.changed_by
    where x.scope_id = %s and x.name > %s
    order by x.name limit %s
"""


def put(tx: Transaction, scope_id: int, name: str, nonce: bytes, ciphertext: bytes, key_id: str, changed_by: int) -> dict[str, Any]:
    return tx.one(_PUT, (scope_id, name, nonce, ciphertext, key_id, changed_by))


def remove(tx: Transaction, scope_id: int, name: str) -> bool:
    """Whether there was one."""
    return tx.first("delete from secrets where scope_id = %s and name = %s returning 1 as removed", (scope_id, name)) is not None


def count(tx: Transaction, scope_id: int) -> int:
    return tx.one("select count(*) as count from secrets where scope_id = %s", (scope_id,))["count"]


def nearest(tx: Transaction, scope_id: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """For each name the ciphertext of this scope, or of the nearest one above that has it."""
    return tx.all(_NEAREST, {"scope": scope_id, "names": list(names)})


def listed(tx: Transaction, scope_id: int, after: str, limit: int) -> list[dict[str, Any]]:
    """Names and who changed them last; never a value."""
    return tx.all(_LIST, (scope_id, after, limit))
