"""Somebody who asks: a user, a service account or an agent, with the roles that they hold.

Guarantees: an object that a principal may not even read is reported as not found, never as forbidden, so names of
foreign objects cannot be probed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bushel.domain.errors import Forbidden, NotFound
from bushel.domain.permissions import LOWEST_ROLE, TOKEN_SCOPES, Role, may


@dataclass(frozen=True, slots=True)
class Principal:
    """`bindings` maps scope paths to roles; `cluster_id` is set for agents alone."""

    id: int
    name: str
    kind: str
    token_id: str | None = None
    token_scopes: tuple[str, ...] = TOKEN_SCOPES
    bindings: Mapping[str, Role] = field(default_factory=dict)
    cluster_id: int | None = None
    request_id: str = ""

    def can(self, permission: str, scope_path: str) -> bool:
        return may(permission, scope_path, self.bindings, token_scopes=self.token_scopes)

    def may(self, permission: str, scope_path: str, what: str | None = None) -> None:
        """Insist on a permission. `what` names the object for the message, such as `job k7q2m`.

        Raises:
            NotFound: the principal may not read there at all.
            Forbidden: it may read, but not do this.
        """
        if self.can(permission, scope_path):
            return
        if not self.can("scope:read", scope_path):
            raise NotFound(f"there is no {what or scope_path}, or you may not see it")
        role = LOWEST_ROLE[permission]
        suggestion = (
            f"ask an admin of {scope_path} for the role {role}"
            if "write" in self.token_scopes
            else "use a token that is not only for reading"
        )
        raise Forbidden(f"{self.name} may not {permission} in {scope_path}", suggestion=suggestion)

    def paths(self, permission: str) -> list[str]:
        """The places whose whole subtree this principal holds `permission` on; empty when nowhere."""
        return sorted(path for path in self.bindings if self.can(permission, path))
