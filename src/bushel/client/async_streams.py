"""Follow a server-sent stream in an event loop: the twin of `streams.follow`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from bushel.client.errors import of_answer
from bushel.client.http1 import ConnectionLost, TransportFailure
from bushel.client.streams import OPEN_TIMEOUT_SECONDS, SILENCE_SECONDS, Stream

if TYPE_CHECKING:
    from bushel.client.async_caller import AsyncCaller
    from bushel.client.sse import ServerEvent


async def follow(caller: AsyncCaller, stream: Stream) -> AsyncGenerator[ServerEvent, None]:
    """Its events.

    Raises:
        TransportFailure: it broke and could not be taken up again.
        BushelError: the server refused it; `Gone` when the place to go on from is no longer kept.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            async with await caller.transport.open(
                "GET", stream.path, headers=stream.headers(), timeout=OPEN_TIMEOUT_SECONDS, silence_seconds=SILENCE_SECONDS
            ) as answer:
                if answer.status >= 400:
                    raise of_answer(answer.status, answer.headers, await answer.read())
                parser = stream.opened(loop.time())
                async for chunk in answer.chunks():
                    stream.heard(loop.time())
                    for event in parser.feed(chunk):
                        over = stream.passed(event)
                        yield event
                        if over:
                            return
                raise ConnectionLost("the server ended the stream")
        except TransportFailure as failure:
            pause = stream.pause_after(failure, loop.time())
        await asyncio.sleep(pause)
