"""Who may do what: four roles on a tree of organisation, team and project.

Guarantees: a permission is held on an object when a role that carries it is bound to the object's own place in the
tree or to any place above it; nothing is held by being absent from the table. Agents hold no permission at all: their
credential opens the agent's own routes, for its own cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum


class Role(StrEnum):
    VIEWER = "viewer"
    MEMBER = "member"
    MANAGER = "manager"
    ADMIN = "admin"


class ScopeKind(StrEnum):
    ORG = "org"
    TEAM = "team"
    PROJECT = "project"


ROLE_RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.MANAGER: 2, Role.ADMIN: 3}

LOWEST_ROLE: dict[str, Role] = {
    "job:read": Role.VIEWER,
    "job:submit": Role.MEMBER,
    "job:change": Role.MEMBER,  # hold, release, cancel, retry: own jobs
    "job:change-any": Role.MANAGER,  # the same for jobs of others
    "job:priority-high": Role.MANAGER,  # a priority above 500
    "pipeline:read": Role.VIEWER,  # its runs too
    "pipeline:change": Role.MEMBER,  # apply, pause; to run one takes job:submit, to change a run what it takes to change its jobs
    "blob:write": Role.MEMBER,
    "event:read": Role.VIEWER,
    "queue:read": Role.VIEWER,
    "queue:change": Role.ADMIN,
    "dataset:read": Role.VIEWER,
    "dataset:write": Role.MEMBER,  # make data sets, commit versions, pin them
    "dataset:change": Role.MANAGER,  # release, retention, delete versions
    "storage:read": Role.VIEWER,
    "storage:change": Role.MANAGER,
    "secret:list": Role.MEMBER,  # names only; no permission reads a value
    "secret:change": Role.MANAGER,
    "scope:read": Role.VIEWER,
    "scope:change": Role.ADMIN,
    "role:read": Role.VIEWER,
    "role:change": Role.ADMIN,
    "principal:read": Role.VIEWER,
    "principal:change": Role.ADMIN,
    "audit:read": Role.ADMIN,
    "fleet:read": Role.VIEWER,  # sites, clusters and nodes; bound anywhere in the organisation
    "fleet:change": Role.ADMIN,  # bound to the organisation
}
"""Permission → the lowest role that carries it. Higher roles carry all that lower ones do."""

TOKEN_SCOPES = ("read", "write")
"""A token may be cut down to reading; `read` covers permissions that end in `:read` or `:list`."""


def may(permission: str, path: str, bindings: Mapping[str, Role], *, token_scopes: Iterable[str] = TOKEN_SCOPES) -> bool:
    """Whether `bindings` (scope path → role) carry `permission` at `path`, such as `acme/research/vision`.

    Raises:
        KeyError: there is no such permission.
    """
    needed = ROLE_RANK[LOWEST_ROLE[permission]]
    reading = permission.endswith((":read", ":list"))
    if ("read" if reading else "write") not in token_scopes:
        return False
    parts = path.split("/")
    above = ("/".join(parts[:length]) for length in range(1, len(parts) + 1))
    return any(place in bindings and ROLE_RANK[bindings[place]] >= needed for place in above)
