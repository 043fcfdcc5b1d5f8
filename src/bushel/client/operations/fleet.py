"""Sites, clusters and nodes: where jobs run."""

from __future__ import annotations

from bushel.client.http1 import quote
from bushel.client.operation import Operation, with_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bushel.spec.platform_views import ClusterMadeView, ClusterView, NodeView, PricesView, SiteView
    from bushel.spec.views import Page


def sites_page(*, page: str | None = None) -> Operation[Page[SiteView]]:
    return Operation("GET", "/v1/sites", parameters=[("page", page)])


def create_site(name: str, *, jurisdiction: str = "", idempotency_key: str | None = None) -> Operation[SiteView]:
    return Operation("POST", "/v1/sites", document={"name": name, "jurisdiction": jurisdiction}, headers=with_key(idempotency_key))


def clusters_page(*, limit: int | None = None, page: str | None = None) -> Operation[Page[ClusterView]]:
    return Operation("GET", "/v1/clusters", parameters=[("limit", limit), ("page", page)])


def get_cluster(name: str) -> Operation[ClusterView]:
    return Operation("GET", f"/v1/clusters/{quote(name)}")


def create_cluster(name: str, *, site: str, engine: str = "local", idempotency_key: str | None = None) -> Operation[ClusterMadeView]:
    """The answer holds the agent's token, once."""
    return Operation("POST", "/v1/clusters", document={"name": name, "site": site, "engine": engine}, headers=with_key(idempotency_key))


def delete_cluster(name: str, *, force: bool = False) -> Operation[None]:
    """`force` vouches that its tasks no longer run: they end as lost and may run elsewhere."""
    return Operation("DELETE", f"/v1/clusters/{quote(name)}", parameters=[("force", force or None)])


def get_prices(name: str) -> Operation[PricesView]:
    """What an hour of its resources costs."""
    return Operation("GET", f"/v1/clusters/{quote(name)}/prices")


def set_prices(name: str, prices: Mapping[str, str | float]) -> Operation[PricesView]:
    """`cpu` of one, `memory` of a GiB, `gpu` of any one, `gpu/H100`, by the hour. What is left out has no price."""
    return Operation("PUT", f"/v1/clusters/{quote(name)}/prices", document={"prices": dict(prices)})


def nodes_page(*, cluster: str | None = None, limit: int | None = None, page: str | None = None) -> Operation[Page[NodeView]]:
    return Operation("GET", "/v1/nodes", parameters=[("cluster", cluster), ("limit", limit), ("page", page)])


def get_node(cluster: str, node: str) -> Operation[NodeView]:
    return Operation("GET", f"/v1/nodes/{quote(cluster)}/{quote(node)}")


def cordon(cluster: str, node: str, *, idempotency_key: str | None = None) -> Operation[NodeView]:
    """Nothing more is started there; what runs goes on."""
    return Operation("POST", f"/v1/nodes/{quote(cluster)}/{quote(node)}/cordon", headers=with_key(idempotency_key))


def uncordon(cluster: str, node: str, *, idempotency_key: str | None = None) -> Operation[NodeView]:
    return Operation("POST", f"/v1/nodes/{quote(cluster)}/{quote(node)}/uncordon", headers=with_key(idempotency_key))


def plan_maintenance(
    cluster: str, node: str, *, starts_at: str, ends_at: str, reason: str, idempotency_key: str | None = None
) -> Operation[NodeView]:
    """Nothing starts there within that time. Times are RFC 3339 with their zone."""
    document = {"starts_at": starts_at, "ends_at": ends_at, "reason": reason}
    path = f"/v1/nodes/{quote(cluster)}/{quote(node)}/maintenance"
    return Operation("POST", path, document=document, headers=with_key(idempotency_key))


def end_maintenance(cluster: str, node: str, window: int) -> Operation[NodeView]:
    """Take a window away, planned or under way."""
    return Operation("DELETE", f"/v1/nodes/{quote(cluster)}/{quote(node)}/maintenance/{window}")
