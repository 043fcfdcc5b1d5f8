"""Sites, clusters and nodes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentOnce, CurrentSecretKey
from bushel.api.paging import Limit, cut, decode_page
from bushel.api.paging import Page as PageToken
from bushel.api.problems import responses
from bushel.control import fleet as control
from bushel.control import maintenance
from bushel.store import clusters, nodes

router = APIRouter(tags=["fleet"])

_NAME = r"^[a-z0-9][a-z0-9.-]{0,61}[a-z0-9]$|^[a-z0-9]$"
NewName = Annotated[str, Field(pattern=_NAME, description="Lower-case letters, digits, dots and dashes; at most 63.")]
NamePath = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$")]


class NewSite(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: NewName
    jurisdiction: Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z0-9._-]*$", description="Whose law holds there: cn, us, eu.")] = ""


class NewCluster(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: NewName
    site: NewName
    engine: Literal["local", "kubernetes"] = "local"


class SiteView(BaseModel):
    name: str
    jurisdiction: str
    cluster_count: int
    created_at: datetime


class SiteList(BaseModel):
    items: list[SiteView]
    next_page: str | None


class ClusterView(BaseModel):
    """`state`: `ready`; `parked` (its agent said farewell, its tasks go on); `silent` (the lease ran out, its tasks are waited for);
    `waiting` (no agent holds a lease)."""

    name: str
    site: str
    jurisdiction: str
    engine: str
    state: Literal["ready", "parked", "silent", "waiting"]
    epoch: int
    lease_expires_at: datetime | None
    lease_free_at: datetime | None
    agent: dict[str, Any]
    node_count: int
    live_attempts: int
    version: int
    created_at: datetime


class NewClusterView(ClusterView):
    """`agent_token` is shown this once."""

    agent_token: str


class ClusterList(BaseModel):
    items: list[ClusterView]
    next_page: str | None


class NewWindow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    starts_at: AwareDatetime
    ends_at: AwareDatetime
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class WindowView(BaseModel):
    id: int
    starts_at: datetime
    ends_at: datetime
    reason: str
    planned_by: str


class NodeView(BaseModel):
    """Amounts in the smallest units: thousandths of a CPU or accelerator, bytes. `state` is `unreachable` without a live agent."""

    name: str
    cluster: str
    site: str
    state: Literal["ready", "lost", "unreachable"]
    cordoned: bool
    cordoned_at: datetime | None
    maintenance: Annotated[list[WindowView] | None, Field(description="When it is worked on; a list of nodes does not say.")] = None
    capacity: dict[str, int]
    held: dict[str, int]
    labels: dict[str, str]
    topology: list[tuple[str, str]]
    detail: dict[str, Any]
    version: int
    reported_at: datetime


class NodeList(BaseModel):
    items: list[NodeView]
    next_page: str | None


@router.get("/sites", responses=responses(), response_model=SiteList)
def list_sites(principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    control.may_read(principal)
    with database.transaction() as tx:
        return {"items": clusters.sites(tx), "next_page": None}


@router.post("/sites", status_code=201, responses=responses(409), response_model=SiteView)
def create_site(document: NewSite, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce) -> Any:
    """Add a place under one operator and one jurisdiction."""
    with database.transaction() as tx:

        def make() -> dict[str, Any]:
            return SiteView.model_validate(control.create_site(tx, principal, document.name, document.jurisdiction)).model_dump(mode="json")

        return once(tx, principal.id, make)


@router.get("/clusters", responses=responses(), response_model=ClusterList)
def list_clusters(principal: CurrentPrincipal, database: CurrentDatabase, limit: Limit = 100, page: PageToken = None) -> Any:
    control.may_read(principal)
    after = decode_page(page, str) or [""]
    with database.transaction() as tx:
        rows = clusters.page(tx, after[0], limit + 1)
    items, next_page = cut(rows, limit, lambda row: [row["name"]])
    return {"items": [_cluster_view(row) for row in items], "next_page": next_page}


@router.post("/clusters", status_code=201, responses=responses(409), response_model=NewClusterView)
def create_cluster(
    document: NewCluster, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce, key: CurrentSecretKey
) -> Any:
    """Add a cluster. The answer holds its agent's token, which cannot be read again."""
    with database.transaction() as tx:
        control.may_change(tx, principal)  # also of whoever asks for the stored answer again: it holds a token

        def make() -> dict[str, Any]:
            row, token = control.create_cluster(tx, principal, document.name, document.site, document.engine)
            return NewClusterView.model_validate(_cluster_view(row) | {"agent_token": token}).model_dump(mode="json")

        return once(tx, principal.id, make, seal_with=key)


@router.get("/clusters/{name}", responses=responses(), response_model=ClusterView)
def get_cluster(name: NamePath, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    control.may_read(principal)
    with database.transaction() as tx:
        return _cluster_view(control.found_cluster(tx, name))


@router.delete("/clusters/{name}", status_code=204, responses=responses(409))
def remove_cluster(
    name: NamePath,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    force: Annotated[bool, Query(description="Vouch that its tasks no longer run: they end as lost and may run elsewhere.")] = False,
) -> None:
    """Take a cluster out of the fleet. Refused while attempts are live on it, unless by force."""
    with database.transaction() as tx:
        control.remove_cluster(tx, principal, name, force=force)


@router.get("/nodes", responses=responses(), response_model=NodeList)
def list_nodes(
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    cluster: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$")] = None,
    limit: Limit = 100,
    page: PageToken = None,
) -> Any:
    control.may_read(principal)
    after_cluster, after_node = decode_page(page, str, str) or ("", "")
    with database.transaction() as tx:
        rows = nodes.page(tx, cluster, (after_cluster, after_node), limit + 1)
        items, next_page = cut(rows, limit, lambda row: [row["cluster"], row["name"]])
        held = nodes.held(tx, [row["id"] for row in items])
    return {"items": [_node_view(row | {"held": held.get(row["id"], {})}) for row in items], "next_page": next_page}


@router.get("/nodes/{cluster}/{node}", responses=responses(), response_model=NodeView)
def get_node(cluster: NamePath, node: NamePath, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    control.may_read(principal)
    with database.transaction() as tx:
        return _node_view(control.found_node(tx, cluster, node))


@router.post("/nodes/{cluster}/{node}/cordon", responses=responses(), response_model=NodeView)
def cordon(cluster: NamePath, node: NamePath, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce) -> Any:
    """Let no new work onto a node. What runs there goes on."""
    return _cordon(cluster, node, principal, database, once, cordoned=True)


@router.post("/nodes/{cluster}/{node}/uncordon", responses=responses(), response_model=NodeView)
def uncordon(cluster: NamePath, node: NamePath, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce) -> Any:
    """Let work onto a node again."""
    return _cordon(cluster, node, principal, database, once, cordoned=False)


@router.post("/nodes/{cluster}/{node}/maintenance", status_code=201, responses=responses(409), response_model=NodeView)
def plan_maintenance(
    cluster: NamePath, node: NamePath, document: NewWindow, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce
) -> Any:
    """Say when a node is worked on. Nothing starts there within that time; what runs when it begins goes on."""
    with database.transaction() as tx:

        def make() -> dict[str, Any]:
            row = maintenance.plan_window(tx, principal, cluster, node, document.starts_at, document.ends_at, document.reason)
            return NodeView.model_validate(_node_view(row)).model_dump(mode="json")

        return once(tx, principal.id, make)


@router.delete("/nodes/{cluster}/{node}/maintenance/{window}", responses=responses(), response_model=NodeView)
def end_maintenance(
    cluster: NamePath,
    node: NamePath,
    window: Annotated[int, Path(ge=1, lt=2**63)],
    principal: CurrentPrincipal,
    database: CurrentDatabase,
) -> Any:
    """Take a maintenance window away, planned or under way."""
    with database.transaction() as tx:
        return _node_view(maintenance.take_window_away(tx, principal, cluster, node, window))


def _cordon(
    cluster: str, node: str, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce, *, cordoned: bool
) -> dict[str, Any]:
    with database.transaction() as tx:

        def make() -> dict[str, Any]:
            row = control.set_cordon(tx, principal, cluster, node, cordoned=cordoned)
            return NodeView.model_validate(_node_view(row)).model_dump(mode="json")

        return once(tx, principal.id, make)


def _cluster_view(row: dict[str, Any]) -> dict[str, Any]:
    if row["parked"]:
        state = "parked"
    elif row["usable_lease"]:
        state = "ready"
    else:
        state = "silent" if row["leased"] else "waiting"
    return row | {"state": state}


def _node_view(row: dict[str, Any]) -> dict[str, Any]:
    state = row["state"] if row["state"] == "lost" or row["reachable"] else "unreachable"
    return row | {"state": state, "cordoned": row["cordoned_at"] is not None}
