"""What the API answers about tenancy, the fleet, events and reasons: plain dictionaries at run time.

Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

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
    """`resource_quota` in the units of documents: CPUs, bytes, accelerators by model."""

    name: str
    scope: str
    parent: str | None
    weight: int
    resource_quota: dict[str, Any]
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
    created_at: NotRequired[str]


class ClusterView(TypedDict):
    name: str
    site: str
    engine: str
    state: NotRequired[str]
    agent: NotRequired[dict[str, Any]]


class ClusterMadeView(ClusterView):
    token: str  # of the agent; no other answer shows it


class NodeView(TypedDict):
    """`capacity` in smallest units, by resource name."""

    cluster: str
    site: NotRequired[str]
    name: str
    state: str
    capacity: dict[str, int]
    labels: dict[str, str]
    topology: list[list[str]]
    detail: dict[str, Any]
    reported_at: str


class EventView(TypedDict):
    position: str
    at: str
    kind: str
    scope: str
    object: str
    actor: str
    body: dict[str, Any]
