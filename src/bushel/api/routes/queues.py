"""Queues: shares, guarantees and hard limits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentOnce
from bushel.api.paging import Limit, Page, cut, decode_page
from bushel.api.problems import responses
from bushel.control import queues as control
from bushel.spec.tenancy import NewQueue, QueueChange, QueueName, quota_document
from bushel.store import queues

router = APIRouter(tags=["queues"])


class QueueView(BaseModel):
    """Amounts in the units of documents: CPUs, bytes, accelerators by model."""

    name: str
    scope: str
    parent: str | None
    weight: int
    resource_quota: dict[str, Any]
    guarantee: dict[str, Any]
    lending: dict[str, Any]
    borrowing: dict[str, Any]
    job_quota: int | None
    version: int
    created_at: datetime


class QueueList(BaseModel):
    items: list[QueueView]
    next_page: str | None


@router.get("/queues", responses=responses(), response_model=QueueList)
def list_queues(principal: CurrentPrincipal, database: CurrentDatabase, limit: Limit = 100, page: Page = None) -> Any:
    """Queues at, above or below places of the caller's."""
    after = decode_page(page, str) or [""]
    with database.transaction() as tx:
        rows = queues.listed(tx, principal.paths("queue:read"), after[0], limit + 1)
    items, next_page = cut(rows, limit, lambda row: [row["name"]])
    return {"items": [_view(row) for row in items], "next_page": next_page}


@router.post("/queues", status_code=201, responses=responses(409), response_model=QueueView)
def create_queue(document: NewQueue, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce) -> Any:
    """Make a queue of a team or of the organisation."""
    principal.may("queue:change", document.scope, f"scope {document.scope}")
    with database.transaction() as tx:
        return once(tx, principal.id, lambda: _view(control.create_queue(tx, principal, document)))


@router.get("/queues/{name}", responses=responses(), response_model=QueueView)
def get_queue(name: QueueName, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    with database.transaction() as tx:
        return _view(control.seen_queue(tx, principal, name))


@router.patch("/queues/{name}", responses=responses(409), response_model=QueueView)
def change_queue(name: QueueName, document: QueueChange, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    """Other settings. A smaller quota stops nothing that runs; what waits meets the new limits. A guarantee is met at once."""
    with database.transaction() as tx:
        return _view(control.change_queue(tx, principal, name, document))


@router.delete("/queues/{name}", status_code=204, responses=responses(409))
def remove_queue(name: QueueName, principal: CurrentPrincipal, database: CurrentDatabase) -> None:
    """Remove a queue that nothing uses."""
    with database.transaction() as tx:
        control.remove_queue(tx, principal, name)


def _view(row: dict[str, Any]) -> dict[str, Any]:
    view = QueueView.model_validate(row | {name: quota_document(row[name]) for name in control.AMOUNTS})
    return view.model_dump(mode="json")
