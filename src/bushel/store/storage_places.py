"""Storage places: where projects at and below a scope may keep data sets. A project sees the nearest of each name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from bushel.store.database import Transaction

_COLUMNS = "x.id, x.scope_id, x.name, x.url, x.jurisdiction, x.sites, x.options, x.secrets, x.created_at"

_NEAREST = f"""
    with recursive above as (
        select id, parent_id, 0 as distance from scopes where id = %(scope)s
        union all
        select s.id, s.parent_id, distance + 1 from scopes s join above p on s.id = p.parent_id
    )
    select distinct on (x.name) {_COLUMNS}, s.path as scope
    from above join storage_places x on x.scope_id = above.id join scopes s on s.id = x.scope_id
    where %(names)s::text[] is null or x.name = any(%(names)s)
    order by x.name, distance
"""


def nearest(tx: Transaction, scope_id: int, names: Collection[str] | None = None) -> list[dict[str, Any]]:
    """What a project, or any scope, can use: all of it, or those of `names`."""
    return tx.all(_NEAREST, {"scope": scope_id, "names": None if names is None else list(names)})


def by_id(tx: Transaction, ids: Collection[int]) -> dict[int, dict[str, Any]]:
    rows = tx.all(
        f"select {_COLUMNS}, s.path as scope from storage_places x join scopes s on s.id = x.scope_id where x.id = any(%s)", (list(ids),)
    )
    return {row["id"]: row for row in rows}


def every(tx: Transaction) -> list[dict[str, Any]]:
    return tx.all(f"select {_COLUMNS}, s.path as scope from storage_places x join scopes s on s.id = x.scope_id order by x.id")


def lock_name(tx: Transaction, scope_id: int, name: str) -> dict[str, Any] | None:
    """The place of this very scope, for a change."""
    return tx.first(f"select {_COLUMNS} from storage_places x where x.scope_id = %s and x.name = %s for update", (scope_id, name))


def put(tx: Transaction, scope_id: int, name: str, place: Mapping[str, Any]) -> None:
    tx.execute(
        """
        insert into storage_places (scope_id, name, url, jurisdiction, sites, options, secrets) values (%s, %s, %s, %s, %s, %s, %s)
        on conflict (scope_id, name) do update
        set jurisdiction = excluded.jurisdiction, sites = excluded.sites, options = excluded.options, secrets = excluded.secrets
        """,
        (
            scope_id,
            name,
            place["url"],
            place["jurisdiction"],
            place["sites"],
            Jsonb(place["options"]),
            Jsonb(place["secrets"]),
        ),
    )


def remove(tx: Transaction, place_id: int) -> bool:
    """False: data sets use it, or versions lie there."""
    row = tx.first(
        """
        delete from storage_places x
        where x.id = %(id)s and not exists (select from datasets d where %(id)s = any(d.place_ids))
              and not exists (select from dataset_versions v where v.deleted_at is null and v.places ? %(id)s::text)
        returning 1 as removed
        """,
        {"id": place_id},
    )
    return row is not None


def count(tx: Transaction, scope_id: int) -> int:
    return tx.one("select count(*) as count from storage_places where scope_id = %s", (scope_id,))["count"]


def known_sites(tx: Transaction, names: Sequence[str]) -> set[str]:
    return {row["name"] for row in tx.all("select name from sites where name = any(%s)", (list(names),))}
