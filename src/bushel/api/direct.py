"""Routes that answer plain requests without FastAPI's part in it, which takes longer than such a request does itself.

Guarantees: whoever asks is authenticated, bodies are limited and refusals are told as on any other route, and the documented
parameters are those of the route's function. A request that is not plain (it has a query, or no usable `Idempotency-Key`; of an
agent's, a body that is not what it should be) goes to that function as on any other route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from bushel.api.authentication import authenticate_agent, authenticate_person
from bushel.api.dependencies import MOST_KEY_LENGTH, Once
from bushel.control.idempotency import IdempotencyKey, hash_body
from bushel.domain.principal import Principal
from bushel.store.database import Database

THREADS = 16

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="direct")  # a turn in it costs half of one in the framework's
_agents_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="agents")  # so that no lease waits for submissions

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """All that there is to such a request."""

    body: bytes
    principal: Principal
    database: Database
    once: Once


class DirectRoute(APIRoute):
    """A route of people for POST, to be derived from."""

    def answer(self, plain: PlainRequest) -> Response:
        """What the route's function would answer with all its parameters left out; called in a thread."""
        raise NotImplementedError

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        by_function = super().get_route_handler()

        async def handle(request: Request) -> Response:
            key = request.headers.get("idempotency-key", "")
            if request.scope["query_string"] or not 1 <= len(key) <= MOST_KEY_LENGTH:
                return await by_function(request)
            principal = await authenticate_person(request)
            body = await request.body()
            once = Once(IdempotencyKey(key, f"{request.method} {request.scope['path']}", hash_body(body)))
            plain = PlainRequest(body, principal, request.app.state.database, once)
            return await asyncio.get_running_loop().run_in_executor(_pool, self.answer, plain)

        return handle


class DirectAgentRoute(APIRoute):
    """A route of agents for POST with a body of JSON, to be derived from."""

    body: TypeAdapter[Any]

    async def answer(self, request: Request, agent: Principal, document: Any) -> Response:
        """What the route's function would answer; `document` is what `body` made of the request's."""
        raise NotImplementedError

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        by_function = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if request.headers.get("content-type") != "application/json":
                return await by_function(request)
            agent = await authenticate_agent(request)
            try:
                document = self.body.validate_json(await request.body())
            except ValidationError:
                return await by_function(request)  # which says what is wrong with it
            return await self.answer(request, agent, document)

        return handle


async def in_agents_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """The result of a call that may block, for a route of agents."""
    return await asyncio.get_running_loop().run_in_executor(_agents_pool, function, *arguments)
