"""Sites, clusters and the leases of their agents.

Guarantees: a cluster's `desired_version` grows under its row lock, which is held to the end of the transaction: versions are
visible in their order, and whoever reads version 7 sees all that was wanted up to 7. The row is locked last, after jobs and attempts.

`lease_expires_at` may be infinity (parked), which Python cannot hold: read it through the columns of `read`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg.types.json import Jsonb

from bushel.domain.leases import server_wait_seconds
from bushel.store.database import Transaction, cluster_topic

_COLUMNS = """
    c.id, c.name, c.engine, c.capabilities, c.epoch, c.incarnation, c.desired_version, c.version, c.agent, c.removed_at, c.created_at,
    c.site_id, s.name as site, s.jurisdiction,
    c.lease_expires_at is not null as leased, coalesce(c.lease_expires_at = 'infinity', false) as parked,
    coalesce(c.lease_expires_at > now(), false) as usable_lease,
    nullif(c.lease_expires_at, 'infinity') as lease_expires_at, nullif(c.lease_free_at, 'infinity') as lease_free_at
"""

_RENEW = """
    update clusters set
        lease_expires_at = case when %(parked)s then 'infinity' else now() + make_interval(secs => %(lease)s) end,
        lease_free_at = case when %(parked)s then 'infinity' else now() + make_interval(secs => %(wait)s) end,
        agent = coalesce(%(agent)s, agent)
    where id = %(id)s and epoch = %(epoch)s and incarnation = %(incarnation)s and lease_expires_at is not null and removed_at is null
          and (not %(unpark)s or %(parked)s or lease_expires_at <> 'infinity')
    returning desired_version
"""

_GRANT = """
    update clusters set
        epoch = epoch + 1, incarnation = %(incarnation)s, version = version + 1, desired_version = desired_version + 1,
        lease_expires_at = now() + make_interval(secs => %(lease)s), lease_free_at = now() + make_interval(secs => %(wait)s),
        agent = coalesce(%(agent)s, agent)
    where id = %(id)s
    returning epoch, desired_version
"""

_LOSE = """
    update clusters set epoch = epoch + 1, incarnation = null, lease_expires_at = null, lease_free_at = null,
           version = version + 1, desired_version = desired_version + 1
    where id = %s and lease_free_at < now()
    returning name, epoch
"""


def read(tx: Transaction, cluster_id: int) -> dict[str, Any] | None:
    return tx.first(f"select {_COLUMNS} from clusters c join sites s on s.id = c.site_id where c.id = %s", (cluster_id,))


def find(tx: Transaction, name: str) -> dict[str, Any] | None:
    """A cluster that was not removed."""
    query = f"select {_COLUMNS} from clusters c join sites s on s.id = c.site_id where c.name = %s and c.removed_at is null"
    return tx.first(query, (name,))


def page(tx: Transaction, after: str, limit: int) -> list[dict[str, Any]]:
    """Clusters in the order of their names, with how many nodes and live attempts they have."""
    return tx.all(
        f"""
        select {_COLUMNS},
               (select count(*) from nodes n where n.cluster_id = c.id) as node_count,
               (select count(*) from attempts a where a.cluster_id = c.id and a.state <> 'ended') as live_attempts
        from clusters c join sites s on s.id = c.site_id
        where c.name > %s and c.removed_at is null order by c.name limit %s
        """,
        (after, limit),
    )


def lock(tx: Transaction, cluster_id: int) -> dict[str, Any] | None:
    return tx.first(f"select {_COLUMNS} from clusters c join sites s on s.id = c.site_id where c.id = %s for update of c", (cluster_id,))


def insert(tx: Transaction, site_id: int, name: str, engine: str) -> int | None:
    """The new cluster's id; None if the name is taken. A removed cluster keeps its name: what it ran is still told by it."""
    row = tx.first(
        "insert into clusters (site_id, name, engine, capabilities) values (%s, %s, %s, %s) on conflict (name) do nothing returning id",
        (site_id, name, engine, Jsonb({"containers": engine == "kubernetes", "processes": engine != "kubernetes"})),
    )
    return row["id"] if row else None


def live_count(tx: Transaction, cluster_id: int, epoch: int | None = None) -> int:
    """Live attempts, of one epoch or of all."""
    return tx.one(
        "select count(*) as n from attempts where cluster_id = %s and state <> 'ended' and (%s::bigint is null or epoch = %s)",
        (cluster_id, epoch, epoch),
    )["n"]


def remove(tx: Transaction, cluster_id: int) -> None:
    """Nobody can lease it any more; attempts that it still has belong to an old epoch and are ended by the lease controller."""
    tx.execute(
        """
        update clusters set removed_at = now(), epoch = epoch + 1, incarnation = null, lease_expires_at = null, lease_free_at = null,
               version = version + 1, desired_version = desired_version + 1
        where id = %s
        """,
        (cluster_id,),
    )
    tx.wake(cluster_topic(cluster_id))


def bump(tx: Transaction, cluster_ids: Iterable[int]) -> dict[int, int]:
    """A new desired version for each of these clusters, locked in ascending order, with a wake-up of their agents."""
    versions: dict[int, int] = {}
    for cluster_id in sorted(set(cluster_ids)):
        row = tx.one("update clusters set desired_version = desired_version + 1 where id = %s returning desired_version", (cluster_id,))
        versions[cluster_id] = row["desired_version"]
        tx.wake(cluster_topic(cluster_id))
    return versions


def renew(
    tx: Transaction,
    cluster_id: int,
    epoch: int,
    incarnation: str,
    lease_seconds: float,
    *,
    parked: bool = False,
    leaves_parking: bool = True,
    agent: dict[str, Any] | None = None,
) -> int | None:
    """Hold the lease from now on; the desired version, or None: it has passed on. `leaves_parking` false: None for a parked one too."""
    row = tx.first(
        _RENEW,
        {
            "id": cluster_id,
            "epoch": epoch,
            "incarnation": incarnation,
            "parked": parked,
            "unpark": not leaves_parking,
            "lease": lease_seconds,
            "wait": server_wait_seconds(lease_seconds),
            "agent": Jsonb(agent) if agent else None,
        },
    )
    return row["desired_version"] if row else None


def grant(tx: Transaction, cluster_id: int, incarnation: str, lease_seconds: float, agent: dict[str, Any] | None) -> dict[str, Any]:
    """A new epoch for a new holder. The caller holds the row's lock and knows that nothing of the old epoch can be running."""
    parameters = {
        "id": cluster_id,
        "incarnation": incarnation,
        "lease": lease_seconds,
        "wait": server_wait_seconds(lease_seconds),
        "agent": Jsonb(agent) if agent else None,
    }
    return tx.one(_GRANT, parameters)


def silent(tx: Transaction, limit: int) -> list[int]:
    """Clusters none of whose attempts can still be running, unless the lease is renewed this very moment.

    Pods outlive the agent of their cluster: nobody knows when they have ended, so a Kubernetes cluster is waited for.
    """
    query = "select id from clusters where lease_free_at < now() and engine <> 'kubernetes' order by id limit %s"
    return [row["id"] for row in tx.all(query, (limit,))]


def with_old_attempts(tx: Transaction) -> list[int]:
    """Clusters that still have live attempts of an epoch that has passed."""
    return [
        row["id"]
        for row in tx.all(
            """
            select c.id from clusters c
            where exists (select from attempts a where a.cluster_id = c.id and a.state <> 'ended' and a.epoch < c.epoch)
            order by c.id
            """
        )
    ]


def lose(tx: Transaction, cluster_id: int) -> dict[str, Any] | None:
    """End the lease if it is still overdue. A renewal that came first wins."""
    return tx.first(_LOSE, (cluster_id,))


def sites(tx: Transaction) -> list[dict[str, Any]]:
    return tx.all(
        """
        select s.id, s.name, s.jurisdiction, s.created_at,
               (select count(*) from clusters c where c.site_id = s.id and c.removed_at is null) as cluster_count
        from sites s order by s.name limit 10000
        """
    )


def find_site(tx: Transaction, name: str) -> dict[str, Any] | None:
    return tx.first("select id, name, jurisdiction, created_at from sites where name = %s", (name,))


def insert_site(tx: Transaction, name: str, jurisdiction: str) -> dict[str, Any] | None:
    """The new site; None if the name is taken."""
    return tx.first(
        "insert into sites (name, jurisdiction) values (%s, %s) on conflict (name) do nothing returning id, name, jurisdiction, created_at",
        (name, jurisdiction),
    )
