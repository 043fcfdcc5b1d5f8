"""Streams resume where they broke, and are never taken for finished because bytes stopped."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.client import streams
from bushel.client.async_caller import AsyncCaller
from bushel.client.async_streams import follow as follow_async
from bushel.client.caller import Caller
from bushel.client.context import Context
from bushel.client.errors import Gone
from bushel.client.http1 import ProtocolViolation, TransportFailure
from bushel.client.sse import MOST_EVENT_BYTES, EventStreamParser
from bushel.client.streams import Stream, follow
from tests.scripted_server import Exchange, ScriptedServer, scripted

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(number: int, kind: str = "log") -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {number}\n\n".encode()


def up_to(*numbers: int, then: bytes = b"") -> object:
    def act(exchange: Exchange) -> None:
        exchange.request()
        exchange.send(HEAD + chunk(b": hello\n\n") + b"".join(chunk(event(number)) for number in numbers) + then)

    return act


def read(server: ScriptedServer, kind: str, patience_seconds: float = 5.0) -> list[str]:
    context = Context(server.url, token=None)
    stream = Stream("/s", [], last_event="end", patience_seconds=patience_seconds)
    if kind == "sync":
        return [found.data for found in follow(Caller(context), stream) if found is not None]

    async def run() -> list[str]:
        caller = AsyncCaller(context, patience_seconds=1, user_agent="test")
        return [found.data async for found in follow_async(caller, stream)]

    return asyncio.run(run())


END = chunk(event(9, "end"))


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "fault",
    [b"", b"5\r\nda", chunk(b"id: 3\nda"), chunk(b"id: 3\ndata: 3\n"), b"0\r\n\r\n"],
    ids=["closed", "cut in a chunk", "cut in a line", "cut ahead of the blank line", "ended by the server"],
)
def test_a_stream_that_breaks_goes_on_behind_the_last_event(kind: str, fault: bytes) -> None:
    with scripted(up_to(1, 2, then=fault), up_to(3, 4, then=END)) as server:  # type: ignore[arg-type]
        assert read(server, kind) == ["1", "2", "3", "4", "9"]
        assert b"Last-Event-ID: 2\r\n" in server.requests[1]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_that_stays_broken_raises(kind: str) -> None:
    with scripted(up_to(1), lambda exchange: exchange.close()) as server, pytest.raises(TransportFailure):  # type: ignore[arg-type]
        read(server, kind, patience_seconds=0.3)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_place_that_is_no_longer_kept_is_said(kind: str) -> None:
    def gone(exchange: Exchange) -> None:
        exchange.request()
        body = b'{"code": "gone", "detail": "events are no longer kept", "suggestion": "list again"}'
        exchange.answer(body, status="410 Gone", headers="Content-Type: application/problem+json\r\n")

    with scripted(up_to(1), gone) as server, pytest.raises(Gone, match="no longer kept") as raised:  # type: ignore[arg-type]
        read(server, kind)
    assert raised.value.suggestion == "list again"


def test_a_dead_connection_is_noticed_by_its_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SILENCE_SECONDS", 0.2)
    stop = threading.Event()

    def dead(exchange: Exchange) -> None:
        exchange.request()
        exchange.send(HEAD + chunk(event(1)))
        stop.wait(10)

    with scripted(dead, up_to(2, then=END)) as server:  # type: ignore[arg-type]
        assert read(server, "sync") == ["1", "2", "9"]
        stop.set()


def test_a_quiet_stream_ticks() -> None:
    stop = threading.Event()

    def quiet(exchange: Exchange) -> None:
        exchange.request()
        exchange.send(HEAD + chunk(event(1)))
        stop.wait(0.4)
        exchange.send(END)

    with scripted(quiet) as server:
        began, ticks = time.monotonic(), 0
        for found in follow(Caller(Context(server.url, token=None)), Stream("/s", [], last_event="end"), tick_seconds=0.05):
            ticks += found is None
        assert ticks >= 3, time.monotonic() - began


@given(st.lists(st.integers(0, 200), max_size=10))
def test_events_are_the_same_however_their_bytes_are_cut(cuts: list[int]) -> None:
    data = b": comment\r\nid: 1\r\ndata: a\r\ndata: b\r\n\r\nid: 2\nevent: x\ndata:c\n\n: only a comment\nid: 3\n\ndata: d\n\n"
    parser, found, at = EventStreamParser(), [], 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        found += parser.feed(data[at:cut])
        at = max(at, cut)
    assert [(one.event, one.data, one.id) for one in found] == [("message", "a\nb", "1"), ("x", "c", "2"), ("message", "d", "3")]
    assert parser.last_event_id == "3"


def test_an_endless_event_is_refused() -> None:
    parser = EventStreamParser()
    for _ in range(MOST_EVENT_BYTES // 100_000):
        list(parser.feed(b"data: " + b"x" * 99_990 + b"\n"))
    with pytest.raises(ProtocolViolation):
        list(parser.feed(b"data: " + b"x" * 100_000))
