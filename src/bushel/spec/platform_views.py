"""What the API answers about tenancy, the fleet, events and reasons: plain dictionaries at run time.

Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict


class WhoAmIView(TypedDict):
    name: str
    kind: Literal["user", "service", "agent"]
    token_id: str | None
    token_scopes: list[str]
    roles: dict[str, str]  # scope path → role


class ScopeView(TypedDict):
    kind: Literal["org", "team", "project"]
    path: str
    name: str
    queue: str | None
    created_at: str


class PrincipalView(TypedDict):
    name: str
    kind: Literal["user", "service"]
    scope: str | None
    disabled_at: str | None
    created_at: str


class PrincipalMadeView(PrincipalView):
    token: str | None  # no other answer shows it


class RoleView(TypedDict):
    principal: str
    scope: str
    role: Literal["viewer", "member", "manager", "admin"]
    created_at: str


class TokenView(TypedDict):
    id: str
    principal: str
    name: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class TokenMadeView(TokenView):
    token: str  # no other answer shows it


class SecretView(TypedDict):
    """No answer holds a value."""

    name: str
    scope: str
    changed_at: str
    changed_by: str


class QueueView(TypedDict):
    """Amounts in the units of documents: CPUs, bytes, accelerators by model."""

    name: str
    scope: str
    parent: str | None
    weight: int
    resource_quota: dict[str, Any]
    guarantee: dict[str, Any]
    lending: dict[str, Any]
    borrowing: dict[str, Any]
    job_quota: int | None
    version: int
    created_at: str


class AuditView(TypedDict):
    id: int
    at: str
    principal: str
    token_id: str | None
    action: str
    object: str
    scope: str
    request_id: str
    detail: dict[str, Any]


class SiteView(TypedDict):
    name: str
    jurisdiction: str
    cluster_count: int
    created_at: str


class ClusterView(TypedDict):
    """`state`: `ready`; `parked` (its agent said farewell, its tasks go on); `silent` (its lease ran out); `waiting` (no agent)."""

    name: str
    site: str
    jurisdiction: str
    engine: str
    state: Literal["ready", "parked", "silent", "waiting"]
    epoch: int
    lease_expires_at: str | None
    lease_free_at: str | None
    agent: dict[str, Any]
    node_count: int
    live_attempts: int
    version: int
    created_at: str


class ClusterMadeView(ClusterView):
    agent_token: str  # no other answer shows it


class PricesView(TypedDict):
    """What an hour of a cluster's resources costs; exact decimal numbers, as texts."""

    cluster: str
    prices: dict[str, str]


class WindowView(TypedDict):
    """When a node is worked on."""

    id: int
    starts_at: str
    ends_at: str
    reason: str
    planned_by: str


class NodeView(TypedDict):
    """Amounts in smallest units, by resource name. A list of nodes does not say when they are worked on."""

    name: str
    cluster: str
    site: str
    state: Literal["ready", "lost", "unreachable"]
    cordoned: bool
    cordoned_at: str | None
    maintenance: list[WindowView] | None
    capacity: dict[str, int]
    held: dict[str, int]
    labels: dict[str, str]
    topology: list[list[str]]
    detail: dict[str, Any]
    version: int
    reported_at: str


class EventView(TypedDict):
    """A fact that became true. `position` is where to go on behind it."""

    position: str
    at: str
    kind: str
    scope: str
    job: str | None
    object: str
    actor: str
    body: dict[str, Any]


class EventListView(TypedDict):
    """`position` is where to watch from to see everything that is not listed."""

    items: list[EventView]
    next_page: str | None
    position: str
