"""Nodes as their agents report them, and whether people let new work onto them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from bushel.store.database import Transaction

_COLUMNS = """
    n.id, n.name, n.capacity, n.labels, n.topology, n.state, n.cordoned_at, n.detail, n.version, n.reported_at,
    c.name as cluster, s.name as site, coalesce(c.lease_expires_at > now() and c.lease_expires_at <> 'infinity', false) as reachable
"""
_FROM = "from nodes n join clusters c on c.id = n.cluster_id join sites s on s.id = c.site_id"

_UPSERT = """
    insert into nodes (cluster_id, name, capacity, labels, topology, state, detail)
    select %s, u.* from unnest(%s::text[], %s::jsonb[], %s::jsonb[], %s::jsonb[], %s::text[], %s::jsonb[]) u
    on conflict (cluster_id, name) do update set
        capacity = excluded.capacity, labels = excluded.labels, topology = excluded.topology, state = excluded.state,
        detail = excluded.detail, reported_at = now(), version = nodes.version + 1
    returning name, version
"""


def of_cluster(tx: Transaction, cluster_id: int) -> dict[str, dict[str, Any]]:
    """A cluster's nodes by name, locked."""
    rows = tx.all(
        "select id, name, capacity, labels, topology, state, detail, version from nodes where cluster_id = %s order by id for update",
        (cluster_id,),
    )
    return {row["name"]: row for row in rows}


def upsert(tx: Transaction, cluster_id: int, nodes: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Write these nodes as new or changed; their new versions by name."""
    if not nodes:
        return {}
    columns = [[node["name"] for node in nodes]]
    columns += [[Jsonb(node[name]) for node in nodes] for name in ("capacity", "labels", "topology")]
    columns += [[node["state"] for node in nodes], [Jsonb(node["detail"]) for node in nodes]]
    return {row["name"]: row["version"] for row in tx.all(_UPSERT, (cluster_id, *columns))}


def refresh_details(tx: Transaction, cluster_id: int, details: dict[str, Any]) -> None:
    """Facts for people changed, nothing that decides anything: no new version."""
    if details:
        tx.execute(
            """
            update nodes n set detail = u.detail, reported_at = now()
            from unnest(%s::text[], %s::jsonb[]) u (name, detail) where n.cluster_id = %s and n.name = u.name
            """,
            (list(details), [Jsonb(detail) for detail in details.values()], cluster_id),
        )


def lose(tx: Transaction, cluster_id: int, names: Sequence[str]) -> dict[str, int]:
    """These nodes are gone; their new versions by name."""
    rows = tx.all(
        "update nodes set state = 'lost', version = version + 1 where cluster_id = %s and name = any(%s) returning name, version",
        (cluster_id, list(names)),
    )
    return {row["name"]: row["version"] for row in rows}


def find(tx: Transaction, cluster: str, name: str) -> dict[str, Any] | None:
    """With what live attempts hold of it."""
    return tx.first(f"select {_COLUMNS} {_FROM} where c.name = %s and n.name = %s and c.removed_at is null", (cluster, name))


def page(tx: Transaction, cluster: str | None, after: tuple[str, str], limit: int) -> list[dict[str, Any]]:
    """Nodes in the order of cluster and name."""
    return tx.all(
        f"""
        select {_COLUMNS} {_FROM}
        where c.removed_at is null and (%s::text is null or c.name = %s) and (c.name, n.name) > (%s, %s)
        order by c.name, n.name limit %s
        """,
        (cluster, cluster, *after, limit),
    )


def held(tx: Transaction, node_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """What live attempts hold of each of these nodes, by resource."""
    rows = tx.all(
        """
        select (part ->> 'node')::bigint as node, amount.key as resource,
               sum(amount.value::bigint * ((part -> 'ranks' ->> 1)::int - (part -> 'ranks' ->> 0)::int))::bigint as amount
        from attempts a, jsonb_array_elements(a.placement) part, jsonb_each_text(part -> 'amounts') amount
        where a.state <> 'ended' and a.cluster_id in (select cluster_id from nodes where id = any(%s))
              and (part ->> 'node')::bigint = any(%s)
        group by 1, 2
        """,
        (list(node_ids), list(node_ids)),
    )
    totals: dict[int, dict[str, int]] = {}
    for row in rows:
        totals.setdefault(row["node"], {})[row["resource"]] = row["amount"]
    return totals


def set_cordon(tx: Transaction, node_id: int, *, cordoned: bool) -> int | None:
    """The node's new version; None if it was so already."""
    row = tx.first(
        """
        update nodes set cordoned_at = case when %s then now() end, version = version + 1
        where id = %s and (cordoned_at is not null) <> %s returning version
        """,
        (cordoned, node_id, cordoned),
    )
    return row["version"] if row else None


def new_version(tx: Transaction, node_id: int) -> int:
    """Lock a node of which something else has changed that decides where work runs. Its new version."""
    return tx.one("update nodes set version = version + 1 where id = %s returning version", (node_id,))["version"]
