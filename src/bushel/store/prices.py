"""What an hour of a resource costs on a cluster.

Guarantees: amounts are exact: integers in thousand-millionths of the installation's currency.
"""

from __future__ import annotations

from collections.abc import Mapping

from bushel.store.database import Transaction

_PRICES = """
    select c.name as cluster, s.name as site, p.resource, p.nano_per_hour
    from clusters c join sites s on s.id = c.site_id left join cluster_prices p on p.cluster_id = c.id
    where c.removed_at is null and (%(cluster)s::text is null or c.name = %(cluster)s) order by c.name, p.resource
"""


def replace(tx: Transaction, cluster_id: int, prices: Mapping[str, int]) -> None:
    """Resource → price; what is not named has none from now on."""
    tx.execute("delete from cluster_prices where cluster_id = %s", (cluster_id,))
    tx.execute(
        "insert into cluster_prices (cluster_id, resource, nano_per_hour) select %s, * from unnest(%s::text[], %s::bigint[])",
        (cluster_id, list(prices), list(prices.values())),
    )


def of_clusters(tx: Transaction, cluster: str | None = None) -> dict[tuple[str, str], dict[str, int]]:
    """By cluster and site, of all clusters or of one; those without prices too."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for row in tx.all(_PRICES, {"cluster": cluster}):
        prices = found.setdefault((row["cluster"], row["site"]), {})
        if row["resource"] is not None:
            prices[row["resource"]] = row["nano_per_hour"]
    return found
