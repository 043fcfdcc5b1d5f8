"""What keeps power where it was given.

Guarantees: nobody hands out a role above their own; nobody acts as, disables or gets a token of somebody who may do
more than they; an organisation always has an enabled admin, also when two are removed at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bushel.domain.errors import Conflict, Forbidden, NotFound
from bushel.domain.permissions import ROLE_RANK, Role
from bushel.domain.principal import Principal
from bushel.store import principals, roles, scopes
from bushel.store.database import Transaction


def scope_for(tx: Transaction, principal: Principal, permission: str, path: str) -> dict[str, Any]:
    """The scope at `path`, on which the principal holds `permission`.

    Raises:
        NotFound: there is none, or the principal may not know of it.
        Forbidden: the permission is missing.
    """
    principal.may(permission, path, f"scope {path}")
    scope = scopes.find(tx, path)
    if scope is None:
        raise NotFound(f"there is no scope {path}, or you may not see it", suggestion="bushel scope ls")
    return scope


def covers(bindings: Mapping[str, Role], path: str, role: Role) -> bool:
    """Whether `bindings` carry at least `role` at `path`."""
    parts = path.split("/")
    above = ("/".join(parts[:length]) for length in range(1, len(parts) + 1))
    return any(place in bindings and ROLE_RANK[bindings[place]] >= ROLE_RANK[role] for place in above)


def insist_covers(principal: Principal, other: Mapping[str, Role], name: str) -> None:
    """
    Raises:
        Forbidden: `other` carries a role that the principal does not.
    """
    for path, role in other.items():
        if not covers(principal.bindings, path, role):
            raise Forbidden(f"{name} is {role} of {path}, which is more than you are there")


def known(tx: Transaction, principal: Principal, name: str) -> dict[str, Any]:
    """A user or service account that the principal may see: itself, or one who belongs at, above or below a place of its own.

    Raises:
        NotFound: there is none, or the principal may not know of it.
    """
    found = principals.find(tx, name)
    if found is not None and (found["id"] == principal.id or _near(found["scope"], principal)):
        return found
    raise NotFound(f"there is no principal {name}, or you may not see it")


def administered(tx: Transaction, principal: Principal, name: str, *, to_read: bool = False) -> dict[str, Any]:
    """One whom the principal administers: it is admin of where the other belongs, and no less than the other anywhere.

    Raises:
        NotFound: there is none, or the principal may not know of it.
        Forbidden: the other is not this principal's to administer, or, unless it is `to_read`, its token is only for reading.
    """
    found = known(tx, principal, name)
    if found["scope"] is None or not covers(principal.bindings, found["scope"], Role.ADMIN):
        raise Forbidden(
            f"{principal.name} does not administer {name}", suggestion=f"ask an admin of {found['scope'] or 'the organisation'}"
        )
    insist_covers(principal, roles.of_principal(tx, found["id"]), name)
    if not to_read:
        insist_on_writing(principal)
    return found


def insist_on_writing(principal: Principal) -> None:
    """
    Raises:
        Forbidden: the token is only for reading.
    """
    if "write" not in principal.token_scopes:
        raise Forbidden("this token is only for reading", suggestion="use a token that is not only for reading")


def lock_organisation(tx: Transaction, path: str) -> dict[str, Any]:
    """The organisation of `path`, so that of two who take its admins away the second sees what the first did."""
    organisation = scopes.find(tx, path.partition("/")[0])
    if organisation is None:
        raise NotFound(f"there is no scope {path}")
    scopes.lock(tx, organisation["id"])
    return organisation


def insist_on_an_admin(tx: Transaction, organisation: Mapping[str, Any]) -> None:
    """
    Raises:
        Conflict: the organisation has none left. The caller's transaction ends by this, so that it has.
    """
    if roles.count_enabled_admins(tx, organisation["id"]) == 0:
        raise Conflict(f"{organisation['path']} would have no admin", suggestion="make somebody else admin first")


def _near(scope: str | None, principal: Principal) -> bool:
    if scope is None:
        return False
    mine = principal.paths("principal:read")
    return any(scope == path or scope.startswith(path + "/") or path.startswith(scope + "/") for path in mine)
