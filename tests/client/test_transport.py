"""Both transports, against a server that misbehaves: every wait ends, and only what is safe is sent again."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bushel.client.async_transport import AsyncTransport
from bushel.client.http1 import ConnectionLost, NotConnected, ProtocolViolation, TimedOut
from bushel.client.transport import Transport, Upload
from tests.scripted_server import Exchange, scripted

Send = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture(params=["sync", "async"])
def sending(request: pytest.FixtureRequest) -> Iterator[Callable[..., Send]]:
    """`sending(url)` gives a blocking `send` over either transport."""
    loop = asyncio.new_event_loop()

    def make(url: str, **options: Any) -> Send:
        if request.param == "sync":
            return Transport(url, **options).send
        transport = AsyncTransport(url, **options)
        return lambda *args, **kwargs: loop.run_until_complete(transport.send(*args, **kwargs))

    yield make
    loop.close()


def hello(exchange: Exchange) -> None:
    while True:
        exchange.request()
        exchange.answer(b"hello")


def cut_short(exchange: Exchange) -> None:
    exchange.request()
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhel")


def close_at_once(exchange: Exchange) -> None:
    exchange.request()


def garbage(exchange: Exchange) -> None:
    exchange.request()
    exchange.send(b"\x00\x01\x02 not http at all \r\n\r\n")


def silence(exchange: Exchange) -> None:
    exchange.request()
    exchange.request()


def test_one_connection_serves_one_request_after_another(sending: Callable[..., Send]) -> None:
    with scripted(hello) as server:
        send = sending(server.url, token="secret")
        assert [send("GET", "/v1/x")[2] for _ in range(5)] == [b"hello"] * 5
        assert server.connections == 1
        assert b"Authorization: Bearer secret\r\n" in server.requests[0]


@pytest.mark.parametrize("fault", [cut_short, close_at_once])
def test_a_broken_answer_is_asked_for_again(sending: Callable[..., Send], fault: Any) -> None:
    with scripted(fault, fault, hello) as server:
        assert sending(server.url)("GET", "/")[2] == b"hello"
        assert len(server.requests) == 3


def test_a_post_is_sent_again_with_the_same_key(sending: Callable[..., Send]) -> None:
    with scripted(close_at_once, hello) as server:
        sending(server.url)("POST", "/v1/jobs", b"{}")
        first, second = server.requests
        assert first == second
        assert b"Idempotency-Key: " in first


def test_what_may_have_had_an_effect_is_not_sent_again(sending: Callable[..., Send]) -> None:
    with scripted(close_at_once, hello) as server:
        with pytest.raises(ConnectionLost):
            sending(server.url)("PATCH", "/v1/queues/a", b"{}")
        assert len(server.requests) == 1


def test_a_connection_that_the_server_closed_while_it_rested_costs_nothing(sending: Callable[..., Send]) -> None:
    def once(exchange: Exchange) -> None:
        exchange.request()
        exchange.answer(b"one")

    with scripted(once, hello) as server:
        send = sending(server.url, patience_seconds=0)
        assert send("GET", "/")[2] == b"one"
        assert send("GET", "/")[2] == b"hello"


def test_a_server_that_asks_to_wait_is_waited_for(sending: Callable[..., Send]) -> None:
    def busy(exchange: Exchange) -> None:
        exchange.request()
        exchange.answer(b"", status="503 Service Unavailable", headers="Retry-After: 0\r\nConnection: close\r\n")

    with scripted(busy, busy, hello) as server:
        assert sending(server.url)("GET", "/")[0] == 200
        assert len(server.requests) == 3


def test_patience_ends_with_the_last_answer(sending: Callable[..., Send]) -> None:
    def busy(exchange: Exchange) -> None:
        while True:
            exchange.request()
            exchange.answer(b"busy", status="503 Service Unavailable", headers="Retry-After: 60\r\n")

    with scripted(busy) as server:
        assert sending(server.url)("GET", "/")[0] == 503


def test_a_silent_server_is_given_up_in_time(sending: Callable[..., Send]) -> None:
    with scripted(silence) as server:
        began = time.monotonic()
        with pytest.raises(TimedOut):
            sending(server.url)("GET", "/", timeout=0.3)
        assert time.monotonic() - began < 5


def test_a_slow_body_is_bounded_by_the_time_of_the_whole_call(sending: Callable[..., Send]) -> None:
    stop = threading.Event()

    def drip(exchange: Exchange) -> None:
        exchange.request()
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not stop.wait(0.05):
            exchange.send(b"x")

    with scripted(drip) as server:
        began = time.monotonic()
        with pytest.raises(TimedOut):
            sending(server.url)("GET", "/", timeout=0.5)
        assert time.monotonic() - began < 5
        stop.set()


def test_what_is_not_http_is_said_and_not_asked_again(sending: Callable[..., Send]) -> None:
    with scripted(garbage, hello) as server:
        with pytest.raises(ProtocolViolation):
            sending(server.url)("GET", "/")
        assert len(server.requests) == 1


def test_a_body_past_the_limit_is_refused(sending: Callable[..., Send]) -> None:
    with scripted(hello) as server, pytest.raises(ProtocolViolation, match="longer than 3 bytes"):
        sending(server.url)("GET", "/", most_body_bytes=3)


def test_nobody_there_is_not_connected(sending: Callable[..., Send]) -> None:
    with scripted(hello) as server:
        url = server.url
    with pytest.raises(NotConnected, match="refused"):
        sending(url, patience_seconds=0.1)("GET", "/")


def test_a_file_is_sent_whole_again_after_a_broken_try(sending: Callable[..., Send]) -> None:
    content = bytes(range(256)) * 4000
    with scripted(close_at_once, hello) as server:
        file = io.BytesIO(b"skipped" + content)
        file.seek(7)
        sending(server.url)("PUT", "/blob", Upload(file, len(content)))
        assert [request.partition(b"\r\n\r\n")[2] == content for request in server.requests] == [True, True]


def test_a_refusal_of_a_body_is_read_though_the_body_was_not_taken() -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        threading.Event().wait(0.3)

    with scripted(refuse) as server:
        content = b"x" * 20_000_000
        assert Transport(server.url).send("PUT", "/blob", Upload(io.BytesIO(content), len(content)))[0] == 413


def test_a_download_that_breaks_begins_again() -> None:
    with scripted(cut_short, hello) as server:
        file = io.BytesIO(b"kept")
        file.seek(4)
        Transport(server.url).download("/blob", file)
        assert file.getvalue() == b"kepthello"


def test_threads_share_a_transport() -> None:
    def echo(exchange: Exchange) -> None:
        while True:
            path = exchange.request().split(b" ")[1]
            exchange.answer(path)

    with scripted(echo) as server:
        transport = Transport(server.url)
        wrong: list[object] = []

        def ask(number: int) -> None:
            for turn in range(50):
                path = f"/{number}/{turn}"
                if transport.send("GET", path)[2] != path.encode():
                    wrong.append(path)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not wrong
        assert server.connections <= 16


def test_a_cancelled_call_does_not_hand_its_answer_to_the_next() -> None:
    release = threading.Event()

    def late(exchange: Exchange) -> None:
        exchange.request()
        release.wait(5)
        exchange.answer(b"for the first")
        exchange.request()

    async def run(url: str) -> bytes:
        transport = AsyncTransport(url)
        first = asyncio.create_task(transport.send("GET", "/first"))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.wait({first})
        release.set()
        return (await transport.send("GET", "/second"))[2]

    with scripted(late, hello) as server:
        assert asyncio.run(run(server.url)) == b"hello"
