"""Storage places: where data sets are kept. Secrets are named, never sent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dataset_views import place_view
from bushel.api.dependencies import CurrentDatabase
from bushel.api.job_views import answer
from bushel.api.problems import responses
from bushel.control import storage_places as control
from bushel.control.guards import scope_for
from bushel.spec.dataset import NewPlace, PlaceName
from bushel.spec.dataset_views import PlaceView
from bushel.spec.tenancy import ScopeName
from bushel.spec.views import Page
from bushel.store import storage_places

router = APIRouter(tags=["storage"])

Scope = Annotated[ScopeName, Query(description="Projects at and below it can use the place.")]


@router.get("/storage", responses={**responses(), 200: {"model": Page[PlaceView]}})
def list_places(scope: Scope, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    """Places that this scope can use: its own, and those of the scopes above. Of two with one name the nearer."""
    with database.transaction() as tx:
        rows = storage_places.nearest(tx, scope_for(tx, principal, "storage:read", scope)["id"])
    return answer({"items": [place_view(row) for row in rows], "next_page": None, "estimated_total": len(rows)})


@router.put("/storage/{name}", responses={**responses(409), 200: {"model": PlaceView}})
def put_place(
    name: Annotated[PlaceName, Path()], scope: Scope, document: NewPlace, principal: CurrentPrincipal, database: CurrentDatabase
) -> Any:
    """Add a place, or change its sites, options and secrets. Its address and its jurisdiction never change."""
    with database.transaction() as tx:
        return answer(place_view(control.put_place(tx, principal, scope, name, document.model_dump())))


@router.delete("/storage/{name}", status_code=204, responses=responses(409))
def remove_place(name: Annotated[PlaceName, Path()], scope: Scope, principal: CurrentPrincipal, database: CurrentDatabase) -> Response:
    """Forget a place that no data set uses. What lies there stays."""
    with database.transaction() as tx:
        control.remove_place(tx, principal, scope, name)
    return Response(status_code=204)
