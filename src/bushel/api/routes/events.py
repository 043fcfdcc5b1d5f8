"""What happened: pages of events, and a stream of new ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from bushel.api.authentication import CurrentPrincipal, authenticate_person
from bushel.api.dependencies import CurrentDatabase
from bushel.api.paging import Limit
from bushel.api.problems import responses
from bushel.api.sse import HEARTBEAT_SECONDS, EventStreamResponse, message
from bushel.api.streams import CurrentHub, Hub, hub_lifespan
from bushel.control.jobs import find_job
from bushel.domain.errors import BushelError, FieldProblem, Forbidden, InvalidDocument, NotFound, Unavailable
from bushel.domain.ids import encode_job_id
from bushel.domain.principal import Principal
from bushel.spec.tenancy import ScopeName
from bushel.store.database import Transaction
from bushel.store.events import START, EventFilter, Position, RecordedEvent, current_position, read_after, read_before, require_kept, within

router = APIRouter(tags=["events"], lifespan=hub_lifespan)

RECHECK_SECONDS = 3.0
"""How soon a stream ends whose token or role was taken away."""

log = logging.getLogger("bushel.api")

JobReference = Annotated[str, PathParameter(min_length=1, max_length=128, pattern=r"^[^\x00]+$", description="Id, or name of the newest.")]
JobQuery = Annotated[str | None, Query(min_length=1, max_length=128, pattern=r"^[^\x00]+$", description="Only events of this job.")]
Kinds = Annotated[
    list[Annotated[str, Field(max_length=64, pattern=r"^[a-z]+(\.[a-z-]*)?$")]] | None,
    Query(max_length=20, description="Whole kinds (`job.failed`), or families with the dot (`job.`)."),
]
Scope = Annotated[ScopeName | None, Query(description="Only events of this scope and those below it.")]
PositionText = Annotated[str | None, Query(max_length=40, description="A `position` or `next_page` that was given before.")]


class EventView(BaseModel):
    """A fact that became true."""

    position: str = Field(description="Where to go on behind this event. Events of one reader are in this order.")
    at: datetime
    kind: str
    scope: str
    job: str | None
    object: str
    actor: str
    body: dict[str, Any]


class EventList(BaseModel):
    items: list[EventView]
    next_page: str | None
    position: str = Field(description="Watch with `after` = this to see everything that is not on this page or an earlier one.")


def _view(event: RecordedEvent) -> dict[str, Any]:
    return {
        "position": str(event.position),
        "at": event.at.isoformat().replace("+00:00", "Z"),
        "kind": event.kind,
        "scope": event.scope_path,
        "job": None if event.job_id is None else encode_job_id(event.job_id),
        "object": event.object,
        "actor": event.actor,
        "body": dict(event.body),
    }


@router.get("/events", responses=responses(410), response_model=EventList)
def list_events(
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    scope: Scope = None,
    job: JobQuery = None,
    kind: Kinds = None,
    after: PositionText = None,
    page: PositionText = None,
    newest_first: Annotated[bool, Query(description="Look back from now instead of going on from `after`.")] = False,
    limit: Limit = 100,
) -> Any:
    """Events in the order in which they became true, from the oldest that is kept or from `after` on."""
    with database.transaction() as tx:
        return _page(tx, principal, scope, job, kind, page or after, newest_first, limit)


@router.get("/jobs/{job}/events", responses=responses(410), response_model=EventList)
def list_job_events(
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    job: JobReference,
    kind: Kinds = None,
    page: PositionText = None,
    newest_first: bool = False,
    limit: Limit = 100,
) -> Any:
    """What happened to a job and its attempts."""
    with database.transaction() as tx:
        return _page(tx, principal, None, job, kind, page, newest_first, limit)


@router.get(
    "/events/watch",
    responses={**responses(410), 200: {"description": "Server-sent events; `id` is the position.", "content": {"text/event-stream": {}}}},
    response_class=EventStreamResponse,
)
async def watch_events(
    request: Request,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    hub: CurrentHub,
    scope: Scope = None,
    job: JobQuery = None,
    kind: Kinds = None,
    after: PositionText = None,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> Any:
    """New events as they become true: from now on, or everything behind `after`; `Last-Event-ID` takes a broken stream up again."""
    wanted = _position(last_event_id or after)

    def begin() -> tuple[EventFilter, Position]:
        with database.transaction() as tx:
            position = wanted or current_position(tx)
            require_kept(tx, position)
            return _filter(tx, principal, scope, job, kind), position

    filters, position = await run_in_threadpool(begin)
    return EventStreamResponse(_stream(request, hub, filters, position, scope))


async def _stream(request: Request, hub: Hub, filters: EventFilter, position: Position, scope: str | None) -> AsyncGenerator[bytes, None]:
    now = asyncio.get_running_loop().time
    heartbeat_at, recheck_at = now() + HEARTBEAT_SECONDS, now() + RECHECK_SECONDS
    with hub.events(position, filters) as subscription:
        yield message(resume=str(position), comment="watching")
        try:
            while not hub.stopping.is_set():
                events = await subscription.take(max(0.0, min(heartbeat_at, recheck_at) - now()))
                if now() >= recheck_at:
                    paths = _paths(await authenticate_person(request), scope)
                    subscription.filters = EventFilter(paths, filters.job_id, filters.kinds)
                    events = [event for event in events if subscription.filters.admits(event)]
                    recheck_at = now() + RECHECK_SECONDS
                if events:
                    yield b"".join(message(_view(event), resume=str(event.position)) for event in events)
                elif now() >= heartbeat_at:
                    yield message(resume=str(subscription.position), comment="still here")
                else:
                    continue
                heartbeat_at = now() + HEARTBEAT_SECONDS
        except Unavailable:
            log.info("a watch ends: the database does not answer; its client takes it up again")
        except BushelError as error:
            yield message({"code": error.code, "message": error.message, "suggestion": error.suggestion}, kind="refused")


def _page(
    tx: Transaction,
    principal: Principal,
    scope: str | None,
    job: str | None,
    kinds: list[str] | None,
    page: str | None,
    newest_first: bool,
    limit: int,
) -> dict[str, Any]:
    position = _position(page)
    filters = _filter(tx, principal, scope, job, kinds)
    if newest_first:
        newest = current_position(tx)
        batch = read_before(tx, position or newest, limit, filters)
    else:
        if position is not None:
            require_kept(tx, position)
        batch = read_after(tx, position or START, limit, filters)
        newest = batch.position
    return {
        "items": [_view(event) for event in batch.events],
        "next_page": str(batch.position) if batch.more else None,
        "position": str(newest),
    }


def _filter(tx: Transaction, principal: Principal, scope: str | None, job: str | None, kinds: list[str] | None) -> EventFilter:
    job_id = None if job is None else find_job(tx, principal, job)["id"]
    return EventFilter(_paths(principal, scope), job_id, tuple(kinds or ()))


def _paths(principal: Principal, scope: str | None) -> tuple[str, ...]:
    """The subtrees of `scope` whose events the principal may read.

    Raises:
        NotFound: none of `scope`.
        Forbidden: no events at all.
    """
    readable = principal.paths("event:read")
    if not readable:
        raise Forbidden(f"{principal.name} may read no events", suggestion="ask an admin for a role")
    if scope is None:
        return tuple(readable)
    if any(within(scope, path) for path in readable):
        return (scope,)
    inside = tuple(path for path in readable if within(path, scope))
    if not inside:
        raise NotFound(f"there is no scope {scope}, or you may not see it")
    return inside


def _position(text: str | None) -> Position | None:
    if not text:
        return None
    try:
        return Position.parse(text)
    except ValueError as error:
        raise InvalidDocument([FieldProblem("/query/after", str(error))]) from error
