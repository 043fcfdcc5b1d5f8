"""What an hour of a cluster's resources costs."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase
from bushel.api.job_views import answer
from bushel.api.problems import responses
from bushel.api.routes.fleet import NamePath
from bushel.control.fleet import found_cluster, may_read
from bushel.control.prices import NANO, set_prices
from bushel.store import prices
from bushel.store.database import Transaction

router = APIRouter(tags=["fleet"])

Resource = Annotated[str, StringConstraints(pattern=r"^(cpu|memory|gpu|gpu/[A-Za-z0-9][A-Za-z0-9._-]{0,62})$")]
Price = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9, max_digits=16)]


class PricesDocument(BaseModel):
    """By resource and hour, in the currency of the installation: `cpu` of one, `memory` of a GiB, `gpu` of any one, `gpu/H100`."""

    model_config = ConfigDict(extra="forbid")

    prices: Annotated[dict[Resource, Price], Field(max_length=100)]


class PricesView(BaseModel):
    """Prices are exact decimal numbers, as texts."""

    cluster: str
    prices: dict[str, str]


def _view(tx: Transaction, name: str) -> dict[str, Any]:
    cluster = found_cluster(tx, name)["name"]
    found = next(iter(prices.of_clusters(tx, cluster).values()), {})
    return {"cluster": cluster, "prices": {resource: f"{(Decimal(nano) / NANO).normalize():f}" for resource, nano in found.items()}}


@router.get("/clusters/{name}/prices", responses={**responses(), 200: {"model": PricesView}})
def get_prices(name: NamePath, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    """What an hour costs there. Empty: nobody has said so."""
    may_read(principal)
    with database.transaction() as tx:
        return answer(_view(tx, name))


@router.put("/clusters/{name}/prices", responses={**responses(), 200: {"model": PricesView}})
def put_prices(name: NamePath, document: PricesDocument, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    """Replace all prices of a cluster. Estimates take them from now on."""
    with database.transaction() as tx:
        set_prices(tx, principal, name, document.prices)
        tx.flush()
        return answer(_view(tx, name))
