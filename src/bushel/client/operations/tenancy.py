"""Who may do what: scopes, principals, roles, tokens, secrets, queues, the audit log, and who is asking."""

from __future__ import annotations

from bushel.client.http1 import quote
from bushel.client.operation import Operation, with_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bushel.spec.platform_views import (
        AuditView,
        PrincipalMadeView,
        PrincipalView,
        QueueView,
        RoleView,
        ScopeView,
        SecretView,
        TokenMadeView,
        TokenView,
        WhoAmIView,
    )
    from bushel.spec.queue_tree import QueueTreeView
    from bushel.spec.views import Page


def whoami() -> Operation[WhoAmIView]:
    return Operation("GET", "/v1/whoami")


# Scopes ------------------------------------------------------------------------------------------------------------


def scopes_page(*, under: str | None = None, limit: int | None = None, page: str | None = None) -> Operation[Page[ScopeView]]:
    return Operation("GET", "/v1/scopes", parameters=[("under", under), ("limit", limit), ("page", page)])


def get_scope(path: str) -> Operation[ScopeView]:
    return Operation("GET", f"/v1/scopes/{quote(path, keep='/')}")


def create_scope(path: str, *, queue: str | None = None, idempotency_key: str | None = None) -> Operation[ScopeView]:
    """A team (`acme/research`) or a project (`acme/research/vision`)."""
    return Operation("POST", "/v1/scopes", document=_given(path=path, queue=queue), headers=with_key(idempotency_key))


def change_scope(path: str, *, queue: str) -> Operation[ScopeView]:
    return Operation("PATCH", f"/v1/scopes/{quote(path, keep='/')}", document={"queue": queue})


def delete_scope(path: str) -> Operation[None]:
    return Operation("DELETE", f"/v1/scopes/{quote(path, keep='/')}")


# Principals, roles, tokens -----------------------------------------------------------------------------------------


def principals_page(*, limit: int | None = None, page: str | None = None) -> Operation[Page[PrincipalView]]:
    return Operation("GET", "/v1/principals", parameters=[("limit", limit), ("page", page)])


def get_principal(name: str) -> Operation[PrincipalView]:
    return Operation("GET", f"/v1/principals/{quote(name)}")


def create_principal(name: str, *, scope: str, kind: str = "user", idempotency_key: str | None = None) -> Operation[PrincipalMadeView]:
    """A user, whose first token is in the answer, or a service account."""
    return Operation("POST", "/v1/principals", document={"name": name, "kind": kind, "scope": scope}, headers=with_key(idempotency_key))


def enrol_principal(name: str, *, idempotency_key: str | None = None) -> Operation[PrincipalMadeView]:
    """A first token once more; all earlier ones end."""
    return Operation("POST", f"/v1/principals/{quote(name)}/enrol", headers=with_key(idempotency_key))


def disable_principal(name: str, *, idempotency_key: str | None = None) -> Operation[PrincipalView]:
    return Operation("POST", f"/v1/principals/{quote(name)}/disable", headers=with_key(idempotency_key))


def enable_principal(name: str, *, idempotency_key: str | None = None) -> Operation[PrincipalView]:
    return Operation("POST", f"/v1/principals/{quote(name)}/enable", headers=with_key(idempotency_key))


def roles_page(
    *, scope: str | None = None, principal: str | None = None, limit: int | None = None, page: str | None = None
) -> Operation[Page[RoleView]]:
    return Operation("GET", "/v1/roles", parameters=[("scope", scope), ("principal", principal), ("limit", limit), ("page", page)])


def grant_role(principal: str, *, scope: str, role: str) -> Operation[RoleView]:
    return Operation("PUT", "/v1/roles", document={"principal": principal, "scope": scope, "role": role})


def remove_role(principal: str, *, scope: str) -> Operation[None]:
    return Operation("DELETE", "/v1/roles", parameters=[("scope", scope), ("principal", principal)])


def tokens_page(*, principal: str | None = None, limit: int | None = None, page: str | None = None) -> Operation[Page[TokenView]]:
    return Operation("GET", "/v1/tokens", parameters=[("principal", principal), ("limit", limit), ("page", page)])


def create_token(
    name: str,
    *,
    principal: str | None = None,
    scopes: Sequence[str] = ("read", "write"),
    expires_in_seconds: int | None = None,
    idempotency_key: str | None = None,
) -> Operation[TokenMadeView]:
    """The answer holds the token, once."""
    document = _given(name=name, principal=principal, scopes=list(scopes), expires_in_seconds=expires_in_seconds)
    return Operation("POST", "/v1/tokens", document=document, headers=with_key(idempotency_key))


def revoke_token(token: str, *, idempotency_key: str | None = None) -> Operation[TokenView]:
    return Operation("POST", f"/v1/tokens/{quote(token)}/revoke", headers=with_key(idempotency_key))


# Secrets, audit ----------------------------------------------------------------------------------------------------


def secrets_page(*, scope: str, limit: int | None = None, page: str | None = None) -> Operation[Page[SecretView]]:
    """Names; no answer holds a value."""
    return Operation("GET", "/v1/secrets", parameters=[("scope", scope), ("limit", limit), ("page", page)])


def put_secret(name: str, value: str, *, scope: str) -> Operation[SecretView]:
    return Operation("PUT", f"/v1/secrets/{quote(name)}", parameters=[("scope", scope)], document={"value": value})


def delete_secret(name: str, *, scope: str) -> Operation[None]:
    return Operation("DELETE", f"/v1/secrets/{quote(name)}", parameters=[("scope", scope)])


def audit_page(
    *,
    scope: str | None = None,
    principal: str | None = None,
    action: str | None = None,
    since: str | None = None,
    before: str | None = None,
    limit: int | None = None,
    page: str | None = None,
) -> Operation[Page[AuditView]]:
    parameters = [
        ("scope", scope),
        ("principal", principal),
        ("action", action),
        ("since", since),
        ("before", before),
        ("limit", limit),
        ("page", page),
    ]
    return Operation("GET", "/v1/audit", parameters=parameters)


# Queues ------------------------------------------------------------------------------------------------------------


def queues_page(*, limit: int | None = None, page: str | None = None) -> Operation[Page[QueueView]]:
    return Operation("GET", "/v1/queues", parameters=[("limit", limit), ("page", page)])


def queue_tree() -> Operation[QueueTreeView]:
    """All queues that the caller may see, with what each is entitled to, uses, lends and borrows, and from whom."""
    return Operation("GET", "/v1/queue-tree")


def get_queue(name: str) -> Operation[QueueView]:
    return Operation("GET", f"/v1/queues/{quote(name)}")


def create_queue(
    name: str,
    *,
    scope: str,
    parent: str | None = None,
    weight: int | None = None,
    resource_quota: Mapping[str, object] | None = None,
    guarantee: Mapping[str, object] | None = None,
    lending: Mapping[str, object] | None = None,
    borrowing: Mapping[str, object] | None = None,
    job_quota: int | None = None,
    idempotency_key: str | None = None,
) -> Operation[QueueView]:
    """Amounts as in documents: `{"cpu": 64, "memory": "1TiB", "gpu": {"H100": 8}}`."""
    amounts = {"resource_quota": resource_quota, "guarantee": guarantee, "lending": lending, "borrowing": borrowing}
    document = _given(name=name, scope=scope, parent=parent, weight=weight, job_quota=job_quota, **amounts)
    return Operation("POST", "/v1/queues", document=document, headers=with_key(idempotency_key))


def change_queue(name: str, change: Mapping[str, object]) -> Operation[QueueView]:
    """`change` holds `weight`, `resource_quota`, `guarantee`, `lending`, `borrowing`, `job_quota`; what it leaves out stays."""
    return Operation("PATCH", f"/v1/queues/{quote(name)}", document=dict(change))


def delete_queue(name: str) -> Operation[None]:
    return Operation("DELETE", f"/v1/queues/{quote(name)}")


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
