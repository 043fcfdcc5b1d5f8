"""What agents ask: one exchange, held back while there is nothing to say, and the folders that their attempts need.

Guarantees: an agent's token speaks for its own cluster alone; the lease is renewed when a request arrives, however long its answer is
held back; an answer is never held back past a third of the lease, nor once the server stops.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import TypeAdapter

from bushel.api.authentication import CurrentAgent
from bushel.api.dependencies import CurrentDatabase, CurrentSecretKey, CurrentSettings, secret_key
from bushel.api.direct import DirectAgentRoute, in_agents_thread
from bushel.api.problems import responses
from bushel.api.streams import CurrentHub
from bushel.control import sync as control
from bushel.domain.errors import Forbidden, NotFound
from bushel.domain.leases import longest_poll_seconds
from bushel.domain.principal import Principal
from bushel.spec.agent import SyncAnswer, SyncRequest
from bushel.store import attempts
from bushel.store.blobs import BlobFolder
from bushel.store.database import cluster_topic

POLL_SECONDS = 1.0

router = APIRouter(tags=["agent"])


async def sync(
    document: SyncRequest,
    agent: CurrentAgent,
    database: CurrentDatabase,
    settings: CurrentSettings,
    key: CurrentSecretKey,
    hub: CurrentHub,
) -> Any:
    """Report what is, hear what should be. `wait_seconds` asks for the answer to be held back until there is news."""
    cluster_id = _cluster(agent.cluster_id)
    began = time.monotonic()
    with hub.topics(cluster_topic(cluster_id)) as wakes:
        received, answer = await in_agents_thread(control.exchange, database, cluster_id, document, settings.lease_seconds, key)
        until = began + min(max(document["wait_seconds"], 0.0), longest_poll_seconds(settings.lease_seconds))
        while answer is None and (left := until - time.monotonic()) > 0 and not hub.stopping.is_set():
            await wakes.wait(min(left, POLL_SECONDS))
            answer = await in_agents_thread(control.news, database, received, settings.lease_seconds, key)
    return JSONResponse(answer or control.no_news(received, settings.lease_seconds))


class _Sync(DirectAgentRoute):
    """An agent that is busy sends many of these."""

    body = TypeAdapter(SyncRequest)

    async def answer(self, request: Request, agent: Principal, document: SyncRequest) -> Response:
        state = request.app.state
        return await sync(document, agent, state.database, state.settings, await secret_key(request), state.hub)


router.add_api_route("/agent/sync", sync, methods=["POST"], responses=responses(409), response_model=SyncAnswer, route_class_override=_Sync)


@router.get(
    "/agent/blobs/{project:path}/{digest}",
    responses={**responses(), 200: {"description": "The archive", "content": {"application/gzip": {}}}},
    response_class=FileResponse,
)
def get_blob(
    project: Annotated[str, Path(max_length=255, description="The project's path, acme/research/vision.")],
    digest: Annotated[str, Path(pattern="^sha256:[0-9a-f]{64}$", description="SHA-256 of the content.")],
    agent: CurrentAgent,
    database: CurrentDatabase,
    settings: CurrentSettings,
) -> Any:
    """A working folder, as it was uploaded, that a live attempt on this agent's cluster needs."""
    with database.transaction() as tx:
        project_id = attempts.blob_needed(tx, _cluster(agent.cluster_id), project, digest)
    path = None if project_id is None else BlobFolder(settings.state_folder).path(project_id, digest)
    if path is None or not path.exists():
        raise NotFound(f"no live attempt here needs {digest} of {project}, or its content is gone")
    return FileResponse(path, media_type="application/gzip")


def _cluster(cluster_id: int | None) -> int:
    if cluster_id is None:
        raise Forbidden("this token speaks for no cluster")
    return cluster_id
