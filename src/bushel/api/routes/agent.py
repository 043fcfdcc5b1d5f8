"""What agents ask: one exchange, held back while there is nothing to say, and the folders that their attempts need.

Guarantees: an agent's token speaks for its own cluster alone; the lease is renewed when a request arrives, however long its answer is
held back; an answer is never held back past a third of the lease, nor once the server stops.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from bushel.api.authentication import CurrentAgent
from bushel.api.dependencies import CurrentDatabase, CurrentSecretKey, CurrentSettings
from bushel.api.problems import responses
from bushel.api.streams import CurrentHub, Hub, Wakes
from bushel.control import sync as control
from bushel.control.sync import Received
from bushel.domain.errors import Forbidden
from bushel.domain.leases import longest_poll_seconds
from bushel.spec.agent import SyncAnswer, SyncRequest
from bushel.store.database import Database, cluster_topic

POLL_SECONDS = 1.0

router = APIRouter(tags=["agent"])


@router.post("/agent/sync", responses=responses(409), response_model=SyncAnswer)
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
        received = await run_in_threadpool(control.receive, database, cluster_id, document, settings.lease_seconds)
        wait_seconds = min(max(document["wait_seconds"], 0.0), longest_poll_seconds(settings.lease_seconds))
        if not received.news:
            await _news(database, received, hub, wakes, began + wait_seconds)
    return JSONResponse(await run_in_threadpool(control.answer, database, received, settings.lease_seconds, key))


async def _news(database: Database, received: Received, hub: Hub, wakes: Wakes, until: float) -> None:
    """Come back when something is wanted, the time is over or the server stops."""
    while (left := until - time.monotonic()) > 0 and not hub.stopping.is_set():
        await wakes.wait(min(left, POLL_SECONDS))
        if await run_in_threadpool(control.newest_version, database, received.cluster_id) > received.version:
            return


def _cluster(cluster_id: int | None) -> int:
    if cluster_id is None:
        raise Forbidden("this token speaks for no cluster")
    return cluster_id
