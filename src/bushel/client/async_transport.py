"""Send requests over asyncio streams: the twin of `transport`, with the same promises, for one event loop.

Guarantees: as `transport`; a cancelled call closes its connection, so that no answer is taken for another's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from types import TracebackType

from bushel.client.http1 import (
    IDEMPOTENT_METHODS,
    MOST_BODY_BYTES,
    Address,
    ConnectionLost,
    NotConnected,
    Patience,
    ProtocolViolation,
    ResponseParser,
    TimedOut,
    TransportFailure,
    asked_pause_seconds,
    encode_head,
    new_idempotency_key,
    reason_of,
)
from bushel.client.transport import CONNECT_TIMEOUT_SECONDS, IDLE_CONNECTIONS_LIMIT, IDLE_SECONDS, TIMEOUT_SECONDS, Upload

_READ_BYTES = 64 * 1024


class AsyncTransport:
    """Requests to one server, any number of them at once."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca_file: str | None = None,
        headers: Mapping[str, str] | None = None,
        patience_seconds: float = 15.0,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
    ) -> None:
        """As `Transport`.

        Raises:
            ValueError: the URL is not an address.
        """
        self.address = Address(url)
        self.patience_seconds = patience_seconds
        self._ca_file = ca_file
        self._connect_timeout_seconds = connect_timeout_seconds
        self._headers = {"Accept": "application/json", **(headers or {})}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._idle: deque[_Connection] = deque()
        self._tls: ssl.SSLContext | None = None

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | Upload | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        *,
        most_body_bytes: int = MOST_BODY_BYTES,
    ) -> tuple[int, dict[str, str], bytes]:
        """As `Transport.send`."""
        sent = dict(headers or {})
        if method == "POST":
            sent.setdefault("Idempotency-Key", new_idempotency_key())
        repeatable = method in IDEMPOTENT_METHODS or "Idempotency-Key" in sent
        patience = Patience(_now(), patience_seconds=self.patience_seconds, timeout_seconds=timeout)
        while True:
            async with await self.open(method, path, body, sent, patience.remaining(_now())) as answer:
                try:
                    return answer.status, answer.headers, await answer.read(most_body_bytes)
                except ConnectionLost:
                    pause = patience.pause(_now()) if repeatable else None
                    if pause is None:
                        raise
            await asyncio.sleep(pause)

    async def open(
        self,
        method: str,
        path: str,
        body: bytes | Upload | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        *,
        silence_seconds: float | None = None,
    ) -> AsyncAnswer:
        """As `Transport.open`; use the answer in `async with`."""
        sent = {**self._headers, **(headers or {})}
        if method == "POST" and "Idempotency-Key" not in sent:
            sent["Idempotency-Key"] = new_idempotency_key()
        repeatable = method in IDEMPOTENT_METHODS or "Idempotency-Key" in sent
        patience = Patience(_now(), patience_seconds=self.patience_seconds, timeout_seconds=timeout)
        length = None if body is None else body.size_bytes if isinstance(body, Upload) else len(body)
        head = encode_head(self.address, method, path, sent, length if length is not None or method in IDEMPOTENT_METHODS else 0)
        while True:
            connection = None
            try:
                connection = await self._take(patience)
                answer = await connection.exchange(method, head, body, patience, silence_seconds)
            except TransportFailure as failure:
                stale = connection is not None and connection.exchanges > 0
                if connection is not None:
                    connection.close()
                safe = repeatable or isinstance(failure, NotConnected)
                if not safe or isinstance(failure, TimedOut | ProtocolViolation):
                    raise
                if stale:
                    continue
                pause = patience.pause(_now())
                if pause is None:
                    raise
                await asyncio.sleep(pause)
                continue
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
            asked = asked_pause_seconds(answer.status, answer.headers) if repeatable else None
            pause = None if asked is None else patience.pause(_now(), asked_seconds=asked)
            if pause is None:
                return answer
            answer.close()
            await asyncio.sleep(pause)

    def close(self) -> None:
        """Close the connections that rest."""
        while self._idle:
            self._idle.pop().close()

    async def _take(self, patience: Patience) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if _now() - connection.rested_at < IDLE_SECONDS:
                return connection
            connection.close()
        timeout_seconds = min(self._connect_timeout_seconds, patience.remaining(_now()))
        address = self.address
        if address.secure and self._tls is None:
            try:
                self._tls = ssl.create_default_context(cafile=self._ca_file)
            except (OSError, ValueError) as error:
                raise NotConnected(f"{address.url}: TLS failed: {error}") from error
        try:
            opening = asyncio.open_connection(address.host, address.port, ssl=self._tls if address.secure else None, limit=2 * _READ_BYTES)
            reader, writer = await asyncio.wait_for(opening, timeout_seconds)
        except TimeoutError as error:
            raise NotConnected(f"{address.url} does not answer within {timeout_seconds:.0f} s") from error
        except ssl.SSLError as error:
            raise NotConnected(f"{address.url}: TLS failed: {error}") from error
        except OSError as error:
            raise NotConnected(f"{address.url}: {reason_of(error)}") from error
        return _Connection(self, reader, writer)

    def _give_back(self, connection: _Connection) -> None:
        if len(self._idle) >= IDLE_CONNECTIONS_LIMIT:
            connection.close()
            return
        connection.rested_at = _now()
        self._idle.append(connection)


class _Connection:
    """One stream, one exchange at a time."""

    __slots__ = ("_reader", "_transport", "_writer", "exchanges", "rested_at")

    def __init__(self, transport: AsyncTransport, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._transport = transport
        self._reader = reader
        self._writer = writer
        self.exchanges = 0
        self.rested_at = 0.0

    async def exchange(
        self, method: str, head: bytes, body: bytes | Upload | None, patience: Patience, silence_seconds: float | None
    ) -> AsyncAnswer:
        """Send the request and read the head of its answer."""
        parser = ResponseParser(method)
        try:
            await self._send(head, body, patience)
        except ConnectionLost:
            if not isinstance(body, Upload):  # a server that refuses a body may have answered before it closed
                raise
        first = b""
        while not parser.status:
            first += parser.feed(await self.receive(parser, patience.remaining(_now())))
        return AsyncAnswer(self, parser, first, patience, silence_seconds)

    async def _send(self, head: bytes, body: bytes | Upload | None, patience: Patience) -> None:
        pieces = [head + (body or b"")] if not isinstance(body, Upload) else body.chunks()
        try:
            if isinstance(body, Upload):
                self._writer.write(head)
            for piece in pieces:
                self._writer.write(piece)
                await asyncio.wait_for(self._writer.drain(), patience.remaining(_now()))
        except TimeoutError as error:
            raise TimedOut("the request could not be sent within the time given") from error
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error}") from error

    async def receive(self, parser: ResponseParser, timeout_seconds: float) -> bytes:
        """Some bytes of the answer.

        Raises:
            TransportFailure: the connection ended or stayed silent.
        """
        try:
            data = await asyncio.wait_for(self._reader.read(_READ_BYTES), timeout_seconds)
        except TimeoutError as error:
            raise TimedOut("no answer within the time given") from error
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error}") from error
        if not data:
            parser.end()
        return data

    def finish(self, parser: ResponseParser) -> None:
        """Rest for the next exchange if this one ended cleanly."""
        self.exchanges += 1
        if parser.complete and parser.keep_alive:
            self._transport._give_back(self)
        else:
            self.close()

    def close(self) -> None:
        self._writer.transport.abort()


class AsyncAnswer:
    """The twin of `Answer`."""

    __slots__ = ("_connection", "_first", "_parser", "_patience", "_silence_seconds", "headers", "status")

    def __init__(
        self, connection: _Connection, parser: ResponseParser, first: bytes, patience: Patience, silence_seconds: float | None
    ) -> None:
        self._connection: _Connection | None = connection
        self._parser = parser
        self._first = first
        self._patience = patience
        self._silence_seconds = silence_seconds
        self.status = parser.status
        self.headers = parser.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """As `Answer.chunks`."""
        if self._first:
            first, self._first = self._first, b""
            yield first
        while not self._parser.complete and self._connection is not None:
            wait = self._silence_seconds if self._silence_seconds is not None else self._patience.remaining(_now())
            piece = self._parser.feed(await self._connection.receive(self._parser, wait))
            if piece:
                yield piece

    async def read(self, most_bytes: int = MOST_BODY_BYTES) -> bytes:
        """As `Answer.read`."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > most_bytes:
                raise ProtocolViolation(f"the answer is longer than {most_bytes} bytes")
        return bytes(body)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish(self._parser)

    async def __aenter__(self) -> AsyncAnswer:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
