"""Prices of clusters, and what work would cost there.

Guarantees: a price is exact, and what a stage costs an hour is reckoned in integers. Where no price is known there is no cost, rather
than none to pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from bushel.control.audit import audit
from bushel.control.fleet import found_cluster, may_change
from bushel.domain.principal import Principal
from bushel.domain.resources import CPU, GPU_PREFIX, MEMORY, ResourceRequest
from bushel.store import prices
from bushel.store.database import Event, Transaction
from bushel.workloads.compile import compile_groups

NANO = 10**9
GIB = 2**30
ANY_GPU = "gpu"

Prices = Mapping[str, int]
"""Resource → thousand-millionths an hour; a cluster without prices has none."""


def set_prices(tx: Transaction, principal: Principal, name: str, written: Mapping[str, Decimal]) -> dict[str, int]:
    """Replace the prices of a cluster.

    Raises:
        NotFound: there is no such cluster.
    """
    path = may_change(tx, principal)
    cluster = found_cluster(tx, name)
    exact = {resource: int(price * NANO) for resource, price in written.items()}
    prices.replace(tx, cluster["id"], exact)
    told = {resource: str(price) for resource, price in written.items()}
    tx.emit(Event("cluster.priced", path, f"cluster/{name}", principal.name, {"prices": told}))
    audit(tx, principal, "cluster:price", f"cluster/{name}", path, prices=told)
    return exact


def nano_per_hour(stage: Mapping[str, Any], cluster: Prices) -> int | None:
    """Of one partition of a stage on a cluster; None where that has no price for it."""
    total = 0
    for group in compile_groups(stage):
        price = _of_task(group.request, cluster)
        if price is None:
            return None
        total += group.count * price
    return total


def _of_task(request: ResourceRequest, cluster: Prices) -> int | None:
    if not cluster:
        return None
    total = request.cpu_milli * cluster.get(CPU, 0) // 1000 + request.memory_bytes * cluster.get(MEMORY, 0) // GIB
    if not request.gpu_milli:
        return total
    models = [price for name, price in cluster.items() if name.startswith(GPU_PREFIX) and not request.gpu_models]
    models += [cluster[GPU_PREFIX + model] for model in request.gpu_models if GPU_PREFIX + model in cluster]
    models += [cluster[ANY_GPU]] if ANY_GPU in cluster and not models else []
    return total + request.gpu_milli * min(models) // 1000 if models else None


def stage_cost(stage: Mapping[str, Any], hours: float | None, clusters: Mapping[tuple[str, str], Prices]) -> tuple[float, float] | None:
    """The least and the most that so many hours of one partition cost, over the clusters where it may run and that have prices."""
    placement = stage.get("placement", {})
    sites, names = placement.get("sites"), placement.get("clusters")
    allowed = [each for (name, site), each in clusters.items() if (not sites or site in sites) and (not names or name in names)]
    found = [price for each in allowed if (price := nano_per_hour(stage, each)) is not None]
    if hours is None or not found:
        return None
    return min(found) * hours / NANO, max(found) * hours / NANO


def plan_cost(costs: Sequence[tuple[float, float] | None], clusters: Mapping[tuple[str, str], Prices], *, timed: bool) -> dict[str, Any]:
    """Of a run: `costs` of its stages; `timed`: how long each takes is known."""
    without = [name for (name, _), each in clusters.items() if not each]
    known = [cost for cost in costs if cost is not None]
    view: dict[str, Any] = {"least": None, "most": None, "clusters_without_price": without}
    if len(without) == len(clusters):
        return view | {"sentence": "what a run costs is not known: no cluster has a price (bushel cluster price NAME --cpu …)"}
    if not timed:
        return view | {"sentence": "what a run costs is not known: how long a stage takes is not known"}
    if len(known) < len(costs):
        return view | {"sentence": "what a run costs is not known: no cluster where a stage may run has a price for what it needs"}
    least, most = sum(cost[0] for cost in known), sum(cost[1] for cost in known)
    told = f"about ${most:,.2f}" if f"{least:.2f}" == f"{most:.2f}" else f"${least:,.2f} to ${most:,.2f}, by the cluster"
    if 0 < most < 0.005:
        told = "less than $0.01"
    beside = f"; no price is known of {', '.join(without[:5])}" if without else ""
    return view | {"least": round(least, 6), "most": round(most, 6), "sentence": f"a run costs {told}{beside}"}
