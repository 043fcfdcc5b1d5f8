"""Server-sent events over a connection that may be slow, dead or closed.

Guarantees: a client that takes no bytes for `SEND_SECONDS` is let go; one that has gone away is noticed at once; both
end the source. Nothing is buffered here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SEND_SECONDS = 30.0
HEARTBEAT_SECONDS = 15.0
MEDIA_TYPE = "text/event-stream"


def message(data: Any = None, *, kind: str | None = None, resume: str | None = None, comment: str | None = None) -> bytes:
    """One message. Without `data` it is dispatched to nobody, but its `resume` (the `id:` field) is still remembered."""
    lines = []
    if comment is not None:
        lines.append(f": {comment}")
    if resume is not None:
        lines.append(f"id: {resume}")
    if kind is not None:
        lines.append(f"event: {kind}")
    if data is not None:
        lines.append(f"data: {json.dumps(data, separators=(',', ':'))}")
    return ("\n".join(lines) + "\n\n").encode()


class EventStreamResponse(Response):
    """Sends what `source` yields, until it ends or nobody takes it."""

    media_type = MEDIA_TYPE

    def __init__(self, source: AsyncGenerator[bytes, None], status_code: int = 200) -> None:  # FastAPI reads the default for the OpenAPI
        super().__init__(status_code=status_code, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._source.aclose()
        if not sending.cancelled() and (error := sending.exception()) is not None and not isinstance(error, TimeoutError):
            raise error

    async def _send(self, send: Send) -> None:
        async for chunk in self._source:
            await asyncio.wait_for(send({"type": "http.response.body", "body": chunk, "more_body": True}), SEND_SECONDS)
        await asyncio.wait_for(send({"type": "http.response.body", "body": b"", "more_body": False}), SEND_SECONDS)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
