"""Follow a server-sent stream over any number of connections.

Guarantees: a stream that breaks is taken up again after the last event that was given out, so none is missed or seen twice;
one that cannot be taken up again raises. A stream is over only when its last event says so, never because bytes stopped.
"""

from __future__ import annotations

import time

from bushel.client.http1 import ConnectionLost, Patience, TimedOut, TransportFailure, query
from bushel.client.sse import EventStreamParser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bushel.client.caller import Caller
    from bushel.client.sse import ServerEvent

SILENCE_SECONDS = 45.0
"""Servers send a comment at least every 15 seconds; longer silence means that the connection is dead."""

STREAM_PATIENCE_SECONDS = 60.0
"""How long a broken stream is tried to be taken up again."""

OPEN_TIMEOUT_SECONDS = 30.0


class Stream:
    """What to ask for, and how far it has come. `last_event` is the name of the event after which nothing follows, if any does."""

    def __init__(
        self,
        path: str,
        parameters: list[tuple[str, object]],
        *,
        last_event_id: str | None = None,
        last_event: str | None = None,
        patience_seconds: float = STREAM_PATIENCE_SECONDS,
    ) -> None:
        self.path = path + query(parameters)
        self.last_event_id = last_event_id
        self._last_event = last_event
        self._patience_seconds = patience_seconds
        self._patience: Patience | None = None
        self._heard_at = 0.0

    def headers(self) -> dict[str, str]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self.last_event_id is not None:
            headers["Last-Event-ID"] = self.last_event_id
        return headers

    def opened(self, now: float) -> EventStreamParser:
        """A connection stands; gives the parser for its bytes."""
        self._heard_at = now
        return EventStreamParser(self.last_event_id)

    def heard(self, now: float) -> None:
        """Bytes came, so the stream is well."""
        self._heard_at = now
        self._patience = None

    def check_silence(self, now: float) -> None:
        """
        Raises:
            ConnectionLost: nothing came for too long.
        """
        if now - self._heard_at > SILENCE_SECONDS:
            raise ConnectionLost(f"nothing came for {SILENCE_SECONDS:.0f} s")

    def passed(self, event: ServerEvent) -> bool:
        """`event` is given out next; whether the stream is over with it."""
        self.last_event_id = event.id
        return event.event == self._last_event

    def pause_after(self, failure: TransportFailure, now: float) -> float:
        """Seconds to wait before the stream is taken up again.

        Raises:
            TransportFailure: `failure`, when patience has run out.
        """
        if self._patience is None:
            self._patience = Patience(now, patience_seconds=self._patience_seconds, timeout_seconds=self._patience_seconds)
        pause = self._patience.pause(now)
        if pause is None:
            raise failure
        return pause


def follow(caller: Caller, stream: Stream, *, tick_seconds: float | None = None) -> Iterator[ServerEvent | None]:
    """Its events. With `tick_seconds` also None, whenever nothing came for that long.

    Raises:
        TransportFailure: it broke and could not be taken up again.
        BushelError: the server refused it; `Gone` when the place to go on from is no longer kept.
    """
    while True:
        try:
            yield from _connection(caller, stream, tick_seconds)
            return
        except TransportFailure as failure:
            pause = stream.pause_after(failure, time.monotonic())
        time.sleep(pause)


def _connection(caller: Caller, stream: Stream, tick_seconds: float | None) -> Iterator[ServerEvent | None]:
    silence_seconds = SILENCE_SECONDS if tick_seconds is None else tick_seconds
    with caller.transport.open(
        "GET", stream.path, headers=stream.headers(), timeout=OPEN_TIMEOUT_SECONDS, silence_seconds=silence_seconds
    ) as answer:
        if answer.status >= 400:
            from bushel.client.errors import of_answer

            raise of_answer(answer.status, answer.headers, answer.read())
        parser = stream.opened(time.monotonic())
        while True:
            try:
                for chunk in answer.chunks():
                    stream.heard(time.monotonic())
                    for event in parser.feed(chunk):
                        over = stream.passed(event)
                        yield event
                        if over:
                            return
                raise ConnectionLost("the server ended the stream")
            except TimedOut:
                stream.check_silence(time.monotonic())
                if tick_seconds is not None:
                    yield None
