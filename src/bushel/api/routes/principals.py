"""Users and service accounts, and their tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentOnce, CurrentSecretKey, CurrentTenancyChanges
from bushel.api.paging import Limit, Page, cut, decode_page
from bushel.api.problems import responses
from bushel.control import principals as control
from bushel.control.guards import administered, known
from bushel.spec.tenancy import NewPrincipal, NewToken, PrincipalName
from bushel.store import principals, tokens

router = APIRouter(tags=["principals"])

TokenId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$")]


class PrincipalView(BaseModel):
    name: str
    kind: Literal["user", "service"]
    scope: str | None = Field(description="The place whose admins administer it.")
    disabled_at: datetime | None
    created_at: datetime


class PrincipalMade(PrincipalView):
    token: str | None = Field(None, description="A person's first token. No other answer shows it.")


class PrincipalList(BaseModel):
    items: list[PrincipalView]
    next_page: str | None


class TokenView(BaseModel):
    id: str
    principal: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenMade(TokenView):
    token: str = Field(description="The token itself. No other answer shows it.")


class TokenList(BaseModel):
    items: list[TokenView]
    next_page: str | None


@router.get("/principals", responses=responses(), response_model=PrincipalList)
def list_principals(principal: CurrentPrincipal, database: CurrentDatabase, limit: Limit = 100, page: Page = None) -> Any:
    """The caller, and users and service accounts that belong at, above or below places of theirs."""
    after = decode_page(page, str) or [""]
    with database.transaction() as tx:
        rows = principals.listed(tx, principal.id, principal.paths("principal:read"), after[0], limit + 1)
    items, next_page = cut(rows, limit, lambda row: [row["name"]])
    return {"items": items, "next_page": next_page}


@router.post("/principals", status_code=201, responses=responses(409), response_model=PrincipalMade)
def create_principal(
    document: NewPrincipal, principal: CurrentPrincipal, changes: CurrentTenancyChanges, once: CurrentOnce, key: CurrentSecretKey
) -> Any:
    """Make a user, whose first token is in the answer, or a service account."""
    principal.may("principal:change", document.scope, f"scope {document.scope}")
    with changes.transaction() as tx:
        return once(
            tx,
            principal.id,
            lambda: _made(control.create_principal(tx, principal, document.kind, document.name, document.scope)),
            seal_with=key,
        )


@router.get("/principals/{name}", responses=responses(), response_model=PrincipalView)
def get_principal(name: PrincipalName, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    with database.transaction() as tx:
        return known(tx, principal, name)


@router.post("/principals/{name}/enrol", responses=responses(409), response_model=PrincipalMade)
def enrol_principal(
    name: PrincipalName, principal: CurrentPrincipal, changes: CurrentTenancyChanges, once: CurrentOnce, key: CurrentSecretKey
) -> Any:
    """A first token once more, for a person who lost theirs. All their earlier tokens end."""
    with changes.transaction() as tx:
        administered(tx, principal, name)
        return once(tx, principal.id, lambda: _made(control.enrol(tx, principal, name)), seal_with=key)


@router.post("/principals/{name}/disable", responses=responses(409), response_model=PrincipalView)
def disable_principal(name: PrincipalName, principal: CurrentPrincipal, changes: CurrentTenancyChanges, once: CurrentOnce) -> Any:
    """Stop everything that its tokens do."""
    return _set_disabled(name, True, principal, changes, once)


@router.post("/principals/{name}/enable", responses=responses(409), response_model=PrincipalView)
def enable_principal(name: PrincipalName, principal: CurrentPrincipal, changes: CurrentTenancyChanges, once: CurrentOnce) -> Any:
    """Let its tokens work again."""
    return _set_disabled(name, False, principal, changes, once)


@router.get("/tokens", responses=responses(), response_model=TokenList)
def list_tokens(
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    of: Annotated[PrincipalName | None, Query(alias="principal", description="Somebody whom you administer; left out: yourself.")] = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Tokens without their secrets, which nobody can see again."""
    after = decode_page(page, str) or [""]
    with database.transaction() as tx:
        rows = tokens.listed(tx, control.token_owner(tx, principal, of), after[0], limit + 1)
    items, next_page = cut(rows, limit, lambda row: [row["id"]])
    return {"items": items, "next_page": next_page}


@router.post("/tokens", status_code=201, responses=responses(409), response_model=TokenMade)
def create_token(
    document: NewToken, principal: CurrentPrincipal, changes: CurrentTenancyChanges, once: CurrentOnce, key: CurrentSecretKey
) -> Any:
    """A token for oneself or for a service account that one administers."""
    with changes.transaction() as tx:
        control.insist_on_making_tokens(tx, principal, document.principal)

        def make() -> dict[str, Any]:
            made = control.create_token(
                tx,
                principal,
                name=document.name,
                owner=document.principal,
                token_scopes=document.scopes,
                expires_in_seconds=document.expires_in_seconds,
                expires_at=document.expires_at,
            )
            return TokenMade.model_validate(made).model_dump(mode="json")

        return once(tx, principal.id, make, seal_with=key)


@router.post("/tokens/{token}/revoke", responses=responses(), response_model=TokenView)
def revoke_token(token: TokenId, principal: CurrentPrincipal, changes: CurrentTenancyChanges, once: CurrentOnce) -> Any:
    """End a token, at once. Revoking a revoked one changes nothing."""
    with changes.transaction() as tx:
        return once(
            tx,
            principal.id,
            lambda: TokenView.model_validate(control.revoke_token(tx, principal, token)).model_dump(mode="json"),
        )


def _set_disabled(name: str, disabled: bool, principal: CurrentPrincipal, changes: CurrentTenancyChanges, once: CurrentOnce) -> Any:
    def make() -> dict[str, Any]:
        return PrincipalView.model_validate(control.set_disabled(tx, principal, name, disabled)).model_dump(mode="json")

    with changes.transaction() as tx:
        administered(tx, principal, name)
        return once(tx, principal.id, make)


def _made(row: dict[str, Any]) -> dict[str, Any]:
    return PrincipalMade.model_validate(row).model_dump(mode="json")
