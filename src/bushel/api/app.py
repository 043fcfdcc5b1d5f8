"""The HTTP application: all routes under `/v1`, and what surrounds every one of them.

Routers write their paths without `/v1`. A router that needs something running while the app runs (a listener, a
cache) gives it as `APIRouter(lifespan=…)`. `app.state` holds `database`, `settings`, `authenticator` and `stopping`,
an `asyncio.Event` that is set as soon as the server is told to stop: streams and long polls end when it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from bushel import __version__
from bushel.api import problems
from bushel.api.authentication import Authenticator
from bushel.api.limits import Limits
from bushel.api.routes import (
    agent,
    audit,
    blobs,
    datasets,
    estimate,
    events,
    explain,
    fleet,
    history,
    jobs,
    logs,
    pipelines,
    prices,
    principals,
    queue_tree,
    queues,
    runs,
    secrets,
    storage,
    tenancy,
)
from bushel.api.settings import Settings
from bushel.store.database import Database

ROUTES = (
    jobs,
    blobs,
    explain,
    estimate,
    history,
    events,
    logs,
    pipelines,
    runs,
    agent,
    fleet,
    prices,
    tenancy,
    principals,
    queues,
    queue_tree,
    secrets,
    audit,
    datasets,
    storage,
)
"""The modules whose `router` the app has."""


def create_app(database: Database, settings: Settings) -> FastAPI:
    """The app over an opened database."""
    app = FastAPI(title="Bushel", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json", lifespan=_lifespan)
    app.state.database = database
    app.state.settings = settings
    app.state.authenticator = Authenticator(database)
    app.state.stopping = asyncio.Event()
    problems.install(app)
    app.add_middleware(Limits, settings=settings, authenticate=app.state.authenticator.authenticate)
    for routes in ROUTES:
        app.include_router(routes.router, prefix="/v1")

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    app.openapi = lambda: _openapi(app)
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Made when it is first asked for, not at the start."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            routes=app.routes,
            description="Every refusal is an RFC 9457 problem with a stable `code`.",
        )
        _, definitions = models_json_schema([(problems.Problem, "serialization")], ref_template="#/components/schemas/{model}")
        document.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        app.openapi_schema = document
    return app.openapi_schema


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.stopping.set()
