"""Users, service accounts and their tokens.

Guarantees: a token is made for oneself or for a service account that one administers; a person's token is made for
them only when an admin enrols them, which ends all their earlier ones and is audited; a token never allows more, or
for longer, than the one that made it. A disabled principal's tokens stop with the commit that disables it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from bushel.control.audit import audit
from bushel.control.guards import administered, insist_on_an_admin, insist_on_writing, known, lock_organisation, scope_for
from bushel.domain.errors import Conflict, FieldProblem, Forbidden, InvalidDocument, NotFound
from bushel.domain.permissions import TOKEN_SCOPES, ScopeKind
from bushel.domain.principal import Principal
from bushel.store import principals, tokens
from bushel.store.database import Event, Transaction


def create_principal(tx: Transaction, principal: Principal, kind: str, name: str, path: str) -> dict[str, Any]:
    """A user, with the first token in the answer, or a service account, with none."""
    scope = scope_for(tx, principal, "principal:change", path)
    if kind == "user" and scope["kind"] != ScopeKind.ORG:
        raise InvalidDocument([FieldProblem("/scope", "people belong to the organisation; give them roles in teams and projects")])
    made = principals.create(tx, kind, name, scope["id"])
    _note(tx, principal, "created", name, path)
    view = _seen(tx, name)
    if kind == "user":
        _, view["token"] = tokens.create(tx, made, "first token", TOKEN_SCOPES)
    return view


def enrol(tx: Transaction, principal: Principal, name: str) -> dict[str, Any]:
    """A first token once more, for a person who lost theirs. All their earlier tokens end."""
    other = administered(tx, principal, name)
    if other["kind"] != "user" or other["id"] == principal.id:
        raise Conflict("only other people are enrolled", suggestion="POST /v1/tokens makes tokens for yourself and service accounts")
    tx.execute("update tokens set revoked_at = now() where principal_id = %s and revoked_at is null", (other["id"],))
    _, token = tokens.create(tx, other["id"], "first token", TOKEN_SCOPES)
    _note(tx, principal, "enrolled", name, other["scope"])
    return _seen(tx, name) | {"token": token}


def set_disabled(tx: Transaction, principal: Principal, name: str, disabled: bool) -> dict[str, Any]:
    """Stop, or allow again, everything that a principal's tokens do.

    Raises:
        Conflict: the organisation would have no admin.
    """
    organisation = lock_organisation(tx, _home(tx, principal, name))
    other = administered(tx, principal, name)
    principals.set_disabled(tx, other["id"], disabled)
    insist_on_an_admin(tx, organisation)
    _note(tx, principal, "disabled" if disabled else "enabled", name, other["scope"])
    return _seen(tx, name)


def create_token(
    tx: Transaction,
    principal: Principal,
    *,
    name: str,
    owner: str | None,
    token_scopes: Sequence[str],
    expires_in_seconds: int | None = None,
    expires_at: datetime | None = None,
) -> dict[str, Any]:
    """A token with its secret, which no other answer shows."""
    other = insist_on_making_tokens(tx, principal, owner)
    if expires_in_seconds is not None and expires_at is not None:
        raise InvalidDocument([FieldProblem("/expires_at", "say when it expires once: expires_in_seconds or expires_at")])
    if expires_in_seconds is not None:
        expires_at = tx.now + timedelta(seconds=expires_in_seconds)
    if expires_at is not None and expires_at <= tx.now:
        raise InvalidDocument([FieldProblem("/expires_at", "this time has passed")])
    token_id, token = tokens.create(tx, other["id"], name, token_scopes, _no_later_than_its_maker(tx, principal, expires_at))
    _note_token(tx, principal, "created", token_id, other, token_scopes=list(token_scopes))
    return _token(tx, token_id) | {"token": token}


def revoke_token(tx: Transaction, principal: Principal, token_id: str) -> dict[str, Any]:
    """End a token of one's own, or of somebody whom one administers. Revoking a revoked one changes nothing."""
    found = tokens.find(tx, token_id)
    if found is None:
        raise _no_token(token_id)
    if found["principal_id"] != principal.id:
        try:
            other = administered(tx, principal, found["principal"])
        except (NotFound, Forbidden):
            raise _no_token(token_id) from None
    else:
        other = _seen(tx, found["principal"])
    insist_on_writing(principal)
    if found["revoked_at"] is None:
        tokens.revoke(tx, token_id)
        _note_token(tx, principal, "revoked", token_id, other)
    return _token(tx, token_id)


def token_owner(tx: Transaction, principal: Principal, name: str | None) -> int:
    """Whose tokens the principal may list: its own, or of somebody whom it administers."""
    return principal.id if name in (None, principal.name) else administered(tx, principal, str(name), to_read=True)["id"]


def insist_on_making_tokens(tx: Transaction, principal: Principal, name: str | None) -> dict[str, Any]:
    """Whose token it would be.

    Raises:
        NotFound, Forbidden: not a token that this principal may make.
    """
    insist_on_writing(principal)
    if name is None or name == principal.name:
        return _seen(tx, principal.name)
    other = administered(tx, principal, name)
    if other["kind"] != "service":
        raise Forbidden("only its owner makes a token of a person", suggestion="POST /v1/principals/{name}/enrol gives a first token again")
    return other


def _no_later_than_its_maker(tx: Transaction, principal: Principal, expires_at: datetime | None) -> datetime | None:
    maker = tokens.find(tx, principal.token_id) if principal.token_id else None
    limit = maker["expires_at"] if maker else None
    if limit is None or (expires_at is not None and expires_at <= limit):
        return expires_at
    if expires_at is None:
        return limit
    raise InvalidDocument(
        [FieldProblem("/expires_at", f"a token may not outlive the one that makes it, which expires at {limit.isoformat()}")]
    )


def _home(tx: Transaction, principal: Principal, name: str) -> str:
    scope = known(tx, principal, name)["scope"]
    if scope is None:
        raise Forbidden(f"{principal.name} may not change {name}")
    return scope


def _seen(tx: Transaction, name: str) -> dict[str, Any]:
    found = principals.find(tx, name)
    if found is None:
        raise LookupError(name)
    return found


def _token(tx: Transaction, token_id: str) -> dict[str, Any]:
    found = tokens.find(tx, token_id)
    if found is None:
        raise LookupError(token_id)
    return found


def _no_token(token_id: str) -> NotFound:
    return NotFound(f"there is no token {token_id}, or you may not see it")


def _note(tx: Transaction, principal: Principal, what: str, name: str, path: str) -> None:
    tx.emit(Event(f"principal.{what}", path, f"principal/{name}", principal.name))
    audit(tx, principal, f"principal:{what.removesuffix('d') if what != 'enrolled' else 'enrol'}", f"principal/{name}", path)


def _note_token(tx: Transaction, principal: Principal, what: str, token_id: str, owner: dict[str, Any], **detail: Any) -> None:
    path = owner["scope"] or ""
    tx.emit(Event(f"token.{what}", path, f"token/{token_id}", principal.name, {"principal": owner["name"]}))
    audit(tx, principal, f"token:{what.removesuffix('d')}", f"token/{token_id}", path, owner=owner["name"], **detail)
