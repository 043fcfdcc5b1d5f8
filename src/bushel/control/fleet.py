"""Sites, clusters and nodes: what people add, cordon and remove, and what agents report of their nodes.

Guarantees: a node's version grows, and an event says so, only when something that decides where work runs has changed. A cluster with
live attempts is not removed, unless by force: whoever forces it vouches that its tasks no longer run, and they end as lost.

The organisation that was made first operates the fleet: its admins change it, and its readers see the fleet's events. Everybody
with a role anywhere may read what the fleet consists of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bushel.control.audit import audit
from bushel.control.node_reports import clean_nodes
from bushel.domain.errors import Conflict, Forbidden, NotFound
from bushel.domain.principal import Principal
from bushel.store import clusters, maintenance, nodes, tokens
from bushel.store.database import SCHEDULE, Event, Transaction


def operator_path(tx: Transaction) -> str:
    """The place whose readers see the fleet's events."""
    row = tx.first("select path from scopes where kind = 'org' order by id limit 1")
    return row["path"] if row else ""


def may_read(principal: Principal) -> None:
    """
    Raises:
        NotFound: the principal has no role anywhere.
    """
    if not principal.paths("fleet:read"):
        raise NotFound("there is no fleet that you may see", suggestion="ask an admin for the role viewer")


def may_change(tx: Transaction, principal: Principal) -> str:
    """The operator's path.

    Raises:
        Forbidden: the principal may look, no more.
    """
    may_read(principal)
    path = operator_path(tx)
    if principal.can("fleet:read", path):
        principal.may("fleet:change", path)
    else:
        principal.may("fleet:change", principal.paths("fleet:read")[0])
        raise Forbidden(f"{principal.name} may not change the fleet", suggestion=f"ask an admin of {path}")
    return path


def create_site(tx: Transaction, principal: Principal, name: str, jurisdiction: str) -> dict[str, Any]:
    """
    Raises:
        Conflict: there is one of that name.
    """
    path = may_change(tx, principal)
    site = clusters.insert_site(tx, name, jurisdiction)
    if site is None:
        raise Conflict(f"there is a site {name} already")
    tx.emit(Event("site.created", path, f"site/{name}", principal.name, {"jurisdiction": jurisdiction}))
    audit(tx, principal, "site:create", f"site/{name}", path, jurisdiction=jurisdiction)
    return site | {"cluster_count": 0}


def create_cluster(tx: Transaction, principal: Principal, name: str, site: str, engine: str) -> tuple[dict[str, Any], str]:
    """The cluster, and its agent's token, which is shown this once.

    Raises:
        NotFound: there is no such site.
        Conflict: there is, or was, a cluster of that name.
    """
    path = may_change(tx, principal)
    place = clusters.find_site(tx, site)
    if place is None:
        raise NotFound(f"there is no site {site}", suggestion=f"bushel site add {site}")
    cluster_id = clusters.insert(tx, place["id"], name, engine)
    if cluster_id is None:
        raise Conflict(f"there is, or was, a cluster {name}", suggestion="choose another name; a removed cluster's stays with its history")
    agent = tx.first(
        "insert into principals (kind, name, cluster_id) values ('agent', %s, %s) on conflict (name) do nothing returning id",
        (f"agent/{name}", cluster_id),
    )
    if agent is None:
        raise Conflict(f"there is a principal agent/{name} already")
    _, token = tokens.create(tx, agent["id"], f"agent of {name}", ("write",))
    tx.emit(Event("cluster.created", path, f"cluster/{name}", principal.name, {"site": site, "engine": engine}))
    audit(tx, principal, "cluster:create", f"cluster/{name}", path, site=site, engine=engine)
    return found_cluster(tx, name), token


def found_cluster(tx: Transaction, name: str) -> dict[str, Any]:
    """
    Raises:
        NotFound: there is none of that name.
    """
    cluster = clusters.find(tx, name)
    if cluster is None:
        raise NotFound(f"there is no cluster {name}", suggestion="bushel cluster ls")
    return cluster | {
        "node_count": tx.one("select count(*) as n from nodes where cluster_id = %s", (cluster["id"],))["n"],
        "live_attempts": clusters.live_count(tx, cluster["id"]),
    }


def remove_cluster(tx: Transaction, principal: Principal, name: str, *, force: bool) -> None:
    """Take a cluster out of the fleet; its agent's token stops working.

    Raises:
        Conflict: it has live attempts, and `force` does not vouch that they no longer run.
    """
    path = may_change(tx, principal)
    cluster = found_cluster(tx, name)
    clusters.lock(tx, cluster["id"])  # nothing is placed here from now on
    live = clusters.live_count(tx, cluster["id"])
    if live and not force:
        raise Conflict(
            f"{live} attempts are live on {name}",
            suggestion=f"wait for them or cancel them; if {name} is gone for good, use force: they end as lost and may run again",
        )
    clusters.remove(tx, cluster["id"])
    tx.execute("update principals set disabled_at = now() where cluster_id = %s and disabled_at is null", (cluster["id"],))
    tx.emit(Event("cluster.removed", path, f"cluster/{name}", principal.name, {"live_attempts": live}))
    tx.wake(SCHEDULE)
    audit(tx, principal, "cluster:remove", f"cluster/{name}", path, force=force, live_attempts=live)


def found_node(tx: Transaction, cluster: str, name: str) -> dict[str, Any]:
    """A node with what is held of it and when it is worked on.

    Raises:
        NotFound: there is none of that name.
    """
    node = nodes.find(tx, cluster, name)
    if node is None:
        raise NotFound(f"there is no node {name} in the cluster {cluster}")
    held = nodes.held(tx, [node["id"]]).get(node["id"], {})
    return node | {"held": held, "maintenance": maintenance.of_node(tx, node["id"])}


def set_cordon(tx: Transaction, principal: Principal, cluster: str, name: str, *, cordoned: bool) -> dict[str, Any]:
    """Let no new work onto a node, or let it again. What runs there goes on. Doing it twice changes nothing."""
    path = may_change(tx, principal)
    node = found_node(tx, cluster, name)
    version = nodes.set_cordon(tx, node["id"], cordoned=cordoned)
    if version is not None:
        action = "cordoned" if cordoned else "uncordoned"
        body = {"version": version, "node_id": node["id"]}
        tx.emit(Event(f"node.{action}", path, f"node/{cluster}/{name}", principal.name, body))
        tx.wake(SCHEDULE)
        audit(tx, principal, "node:cordon" if cordoned else "node:uncordon", f"node/{cluster}/{name}", path)
    return found_node(tx, cluster, name)


def apply_nodes(
    tx: Transaction, cluster_id: int, cluster: str, actor: str, reported: Sequence[Mapping[str, Any]] | None, *, complete: bool
) -> None:
    """Take over an agent's list of nodes; those missing from a complete one are lost."""
    if reported is None:
        return
    fresh = clean_nodes(reported)
    known = nodes.of_cluster(tx, cluster_id)
    changed = [node for name, node in fresh.items() if name not in known or _differs(known[name], node)]
    details = {name: node["detail"] for name, node in fresh.items() if name in known and node["detail"] != known[name]["detail"]}
    nodes.refresh_details(tx, cluster_id, details)
    versions = nodes.upsert(tx, cluster_id, changed)
    gone = [name for name, node in known.items() if complete and name not in fresh and node["state"] != "lost"]
    lost = nodes.lose(tx, cluster_id, gone) if gone else {}
    if not versions and not lost:
        return
    path = operator_path(tx)
    for node in changed:
        name, before = node["name"], known.get(node["name"])
        kind = "joined" if before is None else "lost" if node["state"] == "lost" != before["state"] else "changed"
        body = {"version": versions[name], "state": node["state"], "capacity": node["capacity"]}
        tx.emit(Event(f"node.{kind}", path, f"node/{cluster}/{name}", actor, body))
    for name, version in lost.items():
        tx.emit(Event("node.lost", path, f"node/{cluster}/{name}", actor, {"version": version, "state": "lost"}))
    tx.wake(SCHEDULE)


def _differs(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return any(before[name] != after[name] for name in ("capacity", "labels", "topology", "state"))
