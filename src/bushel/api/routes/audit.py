"""Who changed what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase
from bushel.api.paging import Limit, Page, cut, decode_page
from bushel.api.problems import responses
from bushel.control.guards import scope_for
from bushel.domain.errors import Forbidden
from bushel.spec.tenancy import PrincipalName, ScopeName
from bushel.store import audit

router = APIRouter(tags=["audit"])


class AuditView(BaseModel):
    id: int
    at: datetime
    principal: str
    token_id: str | None
    action: str
    object: str
    scope: str
    request_id: str
    detail: dict[str, Any]


class AuditList(BaseModel):
    items: list[AuditView]
    next_page: str | None


@router.get("/audit", responses=responses(), response_model=AuditList)
def list_audit(
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    scope: Annotated[ScopeName | None, Query(description="This scope and those below it.")] = None,
    by: Annotated[PrincipalName | None, Query(alias="principal", description="Who did it.")] = None,
    action: Annotated[str | None, Query(max_length=64, pattern=r"^[a-z-]+:[a-z-]+$", description="Such as `role:grant`.")] = None,
    since: Annotated[AwareDatetime | None, Query()] = None,
    before: Annotated[AwareDatetime | None, Query()] = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Changes at scopes of which the caller is admin, the newest first."""
    before_id = decode_page(page, int) or [2**62]
    paths = [scope] if scope is not None else principal.paths("audit:read")
    if not paths:
        raise Forbidden(f"{principal.name} is admin of nothing", suggestion="ask an admin")
    with database.transaction() as tx:
        if scope is not None:
            scope_for(tx, principal, "audit:read", scope)
        rows = audit.listed(tx, paths, principal=by, action=action, since=since, before=before, before_id=before_id[0], limit=limit + 1)
    items, next_page = cut(rows, limit, lambda row: [row["id"]])
    return {"items": items, "next_page": next_page}
