"""Secrets: names can be listed, values only written."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentSecretKey
from bushel.api.paging import Limit, Page, cut, decode_page
from bushel.api.problems import responses
from bushel.control import secrets as control
from bushel.control.guards import scope_for
from bushel.spec.tenancy import ScopeName, SecretName, SecretValue
from bushel.store import secrets

router = APIRouter(tags=["secrets"])

Scope = Annotated[ScopeName, Query(description="Jobs of this scope and of those below it get the secret.")]


class SecretView(BaseModel):
    """No answer holds a value."""

    name: str
    scope: str
    changed_at: datetime
    changed_by: str


class SecretList(BaseModel):
    items: list[SecretView]
    next_page: str | None


@router.get("/secrets", responses=responses(), response_model=SecretList)
def list_secrets(scope: Scope, principal: CurrentPrincipal, database: CurrentDatabase, limit: Limit = 100, page: Page = None) -> Any:
    """Names of the secrets at this very scope."""
    after = decode_page(page, str) or [""]
    with database.transaction() as tx:
        rows = secrets.listed(tx, scope_for(tx, principal, "secret:list", scope)["id"], after[0], limit + 1)
    items, next_page = cut(rows, limit, lambda row: [row["name"]])
    return {"items": items, "next_page": next_page}


@router.put("/secrets/{name}", responses=responses(), response_model=SecretView)
def put_secret(
    name: Annotated[SecretName, Path()],
    scope: Scope,
    document: SecretValue,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    key: CurrentSecretKey,
) -> Any:
    """Store a value, in place of an earlier one. Tasks that start from now on get it."""
    with database.transaction() as tx:
        return control.put_secret(tx, principal, key, scope, name, document.value)


@router.delete("/secrets/{name}", status_code=204, responses=responses())
def remove_secret(name: Annotated[SecretName, Path()], scope: Scope, principal: CurrentPrincipal, database: CurrentDatabase) -> None:
    with database.transaction() as tx:
        control.remove_secret(tx, principal, scope, name)
