"""What is refused before any route sees it, and what every answer carries.

Guarantees: a body is at most `Settings.most_body_bytes` (an uploaded blob `most_blob_bytes`), whether or not its
length was told; more than `FREE_BODY_BYTES` are read only from somebody with a valid token; a body that stops coming
is given up after `BODY_TIMEOUT_SECONDS`. Each request has an id, its own (`X-Request-Id`) or one of ours, on its
answer and in its audit rows. A fault's text stays in the log.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bushel.api.problems import of_error, problem_response
from bushel.api.settings import Settings
from bushel.api.wellformed import check_json
from bushel.domain.errors import BushelError, FieldProblem, InvalidDocument, TooLarge

FREE_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_SECONDS = 30

_CHECKED_IN_PLACE_BYTES = 256 * 1024
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_BLOB_PATH = re.compile(r"/v1/projects/.+/blobs/[^/]+")
_RAW_PATHS = frozenset({"/v1/agent/logs"})
_OURS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))

log = logging.getLogger("bushel.api")

Headers = dict[bytes, bytes]


class _Refused(Exception):
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class Limits:
    """ASGI middleware around all routes. `authenticate` takes the value of an Authorization header and raises if it is worth nothing."""

    def __init__(self, app: ASGIApp, settings: Settings, authenticate: Callable[[str], Awaitable[object]]) -> None:
        self._app = app
        self._settings = settings
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_ours(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = _with_ours(message.get("headers", ()), request_id)
            await send(message)

        try:
            await self._app(scope, await self._limited(scope, headers, receive), send_with_ours)
        except ClientDisconnect:
            return
        except Exception as error:
            answer = _answer(request_id, error)
            if answer is None:
                log.error("request %s: %s %s failed", request_id, scope["method"], scope["path"], exc_info=error)
                answer = problem_response(request_id, 500, "internal", "a fault of the server; its log says more under this request id")
            if not started:
                await answer(scope, receive, send_with_ours)

    async def _limited(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """How the app is to read the body."""
        if b"%00" in scope.get("raw_path", b""):
            raise InvalidDocument([FieldProblem("/path", "an address has no NUL characters")])
        if b"%00" in scope["query_string"]:
            raise InvalidDocument([FieldProblem("/query", "an address has no NUL characters")])
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            return receive
        path = scope["path"]
        if _BLOB_PATH.fullmatch(path):
            return self._counted(headers, receive, self._settings.most_blob_bytes)
        body = await self._body(headers, receive, self._settings.most_body_bytes)
        if body and path not in _RAW_PATHS:
            kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if kind != b"application/json" and not kind.endswith(b"+json"):
                raise _Refused(415, "unsupported_media_type", "a body here is JSON: send Content-Type: application/json")
            if len(body) <= _CHECKED_IN_PLACE_BYTES:
                check_json(body)
            else:
                await run_in_threadpool(check_json, body)
        return _replayed(body, receive)

    async def _body(self, headers: Headers, receive: Receive, most_bytes: int) -> bytes:
        counted = self._counted(headers, receive, most_bytes)
        chunks: list[bytes] = []
        while True:
            message = await counted()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _counted(self, headers: Headers, receive: Receive, most_bytes: int) -> Receive:
        told = int(headers.get(b"content-length", b"0"))
        came, known, done = 0, False, False

        async def receive_counted() -> Message:
            nonlocal came, known, done
            if done:
                return await receive()
            if not known and max(told, came) > FREE_BODY_BYTES:
                await self._authenticate(headers.get(b"authorization", b"").decode("latin-1"))
                known = True
            if max(told, came) > most_bytes:
                raise TooLarge(f"the body is larger than {most_bytes} bytes, which is the most")
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                message = await receive()
            came += len(message.get("body", b""))
            if came > most_bytes:
                raise TooLarge(f"the body is larger than {most_bytes} bytes, which is the most")
            done = not message.get("more_body", False)
            return message

        return receive_counted


def _answer(request_id: str, error: Exception) -> Response | None:
    """For what is refused here; routes' own refusals are answered further in."""
    if isinstance(error, BushelError):
        return of_error(request_id, error)
    if isinstance(error, _Refused):
        return problem_response(request_id, error.status, error.code, error.detail)
    if isinstance(error, TimeoutError):
        return problem_response(request_id, 408, "timeout", f"no more of the body came within {BODY_TIMEOUT_SECONDS} s")
    return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def receive_replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_replayed


def _with_ours(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    theirs = list(headers)
    names = {name.lower() for name, _ in theirs}
    return [*theirs, (b"x-request-id", request_id.encode()), *(ours for ours in _OURS if ours[0] not in names)]


def _request_id(headers: Headers) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
