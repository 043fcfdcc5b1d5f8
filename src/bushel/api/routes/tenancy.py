"""Scopes and roles, and who the caller is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentOnce, CurrentTenancyChanges
from bushel.api.paging import Limit, Page, cut, decode_page
from bushel.api.problems import responses
from bushel.control import tenancy
from bushel.control.guards import known, scope_for
from bushel.domain.permissions import Role, ScopeKind
from bushel.spec.tenancy import NewScope, PrincipalName, RoleGrant, ScopeChange, ScopeName
from bushel.store import roles, scopes

router = APIRouter(tags=["tenancy"])


class WhoAmI(BaseModel):
    name: str
    kind: str
    token_id: str | None
    token_scopes: list[str]
    roles: dict[str, Role]


class ScopeView(BaseModel):
    kind: ScopeKind
    path: str
    name: str
    queue: str | None
    created_at: datetime


class ScopeList(BaseModel):
    items: list[ScopeView]
    next_page: str | None


class RoleView(BaseModel):
    principal: str
    scope: str
    role: Role
    created_at: datetime


class RoleList(BaseModel):
    items: list[RoleView]
    next_page: str | None


@router.get("/whoami", responses=responses())
def who_am_i(principal: CurrentPrincipal) -> WhoAmI:
    """The caller, as the server sees them."""
    return WhoAmI(
        name=principal.name,
        kind=principal.kind,
        token_id=principal.token_id,
        token_scopes=list(principal.token_scopes),
        roles=dict(principal.bindings),
    )


@router.get("/scopes", responses=responses(), response_model=ScopeList)
def list_scopes(
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    under: Annotated[ScopeName | None, Query(description="This scope and those below it.")] = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Scopes that the caller may read, in order of their paths."""
    after = decode_page(page, str) or [""]
    with database.transaction() as tx:
        if under is not None:
            scope_for(tx, principal, "scope:read", under)
        rows = scopes.listed(tx, [under] if under is not None else principal.paths("scope:read"), after[0], limit + 1)
    items, next_page = cut(rows, limit, lambda row: [row["path"]])
    return {"items": items, "next_page": next_page}


@router.post("/scopes", status_code=201, responses=responses(409), response_model=ScopeView)
def create_scope(document: NewScope, principal: CurrentPrincipal, changes: CurrentTenancyChanges, once: CurrentOnce) -> Any:
    """Make a team, which begins with a queue of its own, or a project."""
    principal.may("scope:change", document.path.rpartition("/")[0] or document.path, f"scope {document.path}")
    with changes.transaction() as tx:
        return once(tx, principal.id, lambda: _scope(tenancy.create_scope(tx, principal, document.path, document.queue)))


@router.get("/scopes/{path:path}", responses=responses(), response_model=ScopeView)
def get_scope(path: ScopeName, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    with database.transaction() as tx:
        return scope_for(tx, principal, "scope:read", path)


@router.patch("/scopes/{path:path}", responses=responses(409), response_model=ScopeView)
def change_scope(path: ScopeName, document: ScopeChange, principal: CurrentPrincipal, changes: CurrentTenancyChanges) -> Any:
    """Give a project another default queue, or a team another queue of its own."""
    with changes.transaction() as tx:
        return tenancy.change_scope(tx, principal, path, document.queue)


@router.delete("/scopes/{path:path}", status_code=204, responses=responses(409))
def remove_scope(path: ScopeName, principal: CurrentPrincipal, changes: CurrentTenancyChanges) -> None:
    """Remove an empty team or project, with its roles and secrets."""
    with changes.transaction() as tx:
        tenancy.remove_scope(tx, principal, path)


@router.get("/roles", responses=responses(), response_model=RoleList)
def list_roles(
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    scope: Annotated[ScopeName | None, Query(description="This scope and those below it.")] = None,
    of: Annotated[PrincipalName | None, Query(alias="principal")] = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Who holds which role where, of what the caller may read."""
    after = decode_page(page, str, str) or ["", ""]
    with database.transaction() as tx:
        if scope is not None:
            scope_for(tx, principal, "role:read", scope)
        if of is not None:
            known(tx, principal, of)
        paths = [scope] if scope is not None else principal.paths("role:read")
        rows = roles.listed(tx, paths, of, (after[0], after[1]), limit + 1)
    items, next_page = cut(rows, limit, lambda row: [row["scope"], row["principal"]])
    return {"items": items, "next_page": next_page}


@router.put("/roles", responses=responses(409), response_model=RoleView)
def grant_role(document: RoleGrant, principal: CurrentPrincipal, changes: CurrentTenancyChanges) -> Any:
    """Give somebody a role at a scope, in place of the one that they hold at that very scope."""
    with changes.transaction() as tx:
        return tenancy.grant_role(tx, principal, document.principal, document.scope, document.role)


@router.delete("/roles", status_code=204, responses=responses(409))
def remove_role(
    scope: Annotated[ScopeName, Query()],
    of: Annotated[PrincipalName, Query(alias="principal")],
    principal: CurrentPrincipal,
    changes: CurrentTenancyChanges,
) -> None:
    """Take away the role that somebody holds at this very scope."""
    with changes.transaction() as tx:
        tenancy.remove_role(tx, principal, of, scope)


def _scope(row: dict[str, Any]) -> dict[str, Any]:
    return ScopeView.model_validate(row).model_dump(mode="json")
