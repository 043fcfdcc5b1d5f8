"""Send requests over sockets, from any number of threads.

Guarantees: every wait has a time-out; a request that may be sent again without harm (GET, HEAD, PUT, DELETE, and every
POST, which carries an `Idempotency-Key`) is sent again when its connection breaks, with pauses, for as long as the
transport's patience lasts; a connection carries one exchange at a time and is used again only if the last one ended
cleanly. TLS is verified against the system's authorities or the file given.
"""

from __future__ import annotations

import socket
import time
from collections import deque

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import BinaryIO, TypeVar

    Result = TypeVar("Result")

CONNECT_TIMEOUT_SECONDS = 5.0
TIMEOUT_SECONDS = 60.0
IDLE_CONNECTIONS_LIMIT = 16
IDLE_SECONDS = 4.0
"""A connection that rested longer is not used again: servers close idle ones after five seconds."""

_READ_BYTES = 64 * 1024


class Upload:
    """A body out of a seekable file: `size_bytes` from where the file stands now."""

    __slots__ = ("file", "size_bytes", "start")

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self.file = file
        self.size_bytes = size_bytes
        self.start = file.tell()

    def chunks(self) -> Iterator[bytes]:
        """The body from its beginning, as often as it is sent.

        Raises:
            ProtocolViolation: the file has become shorter.
        """
        self.file.seek(self.start)
        left = self.size_bytes
        while left:
            chunk = self.file.read(min(left, 256 * 1024))
            if not chunk:
                raise ProtocolViolation("the file became shorter while it was sent")
            left -= len(chunk)
            yield chunk


class Transport:
    """Requests to one server. `path` is encoded and starts with `/`; a relative prefix belongs into `url`."""

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
        """`patience_seconds`: how long to go on trying when connections break or the server asks to wait; 0 for one try.

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
        self._idle: deque[_Connection] = deque()  # its append and pop are atomic, so threads share it without a lock
        self._tls: ssl.SSLContext | None = None

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Upload | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        *,
        most_body_bytes: int = MOST_BODY_BYTES,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower-case names) and body of the answer. `timeout` bounds the whole call, retries included.

        Raises:
            TransportFailure: there was no whole answer in time; see its subclasses.
        """

        def read(answer: Answer) -> tuple[int, dict[str, str], bytes]:
            return answer.status, answer.headers, answer.read(most_body_bytes)

        return self._whole(method, path, body, headers, timeout, read)

    def download(
        self, path: str, file: BinaryIO, headers: Mapping[str, str] | None = None, timeout: float = TIMEOUT_SECONDS
    ) -> tuple[int, dict[str, str]]:
        """GET `path` into a seekable `file`; a refusal's body lands there too, so look at the status.

        Raises:
            TransportFailure: as `send`; what was written so far is then worth nothing.
        """
        start = file.tell()

        def write(answer: Answer) -> tuple[int, dict[str, str]]:
            file.seek(start)
            file.truncate()
            for chunk in answer.chunks():
                file.write(chunk)
            return answer.status, answer.headers

        return self._whole("GET", path, None, headers, timeout, write)

    def _whole(
        self,
        method: str,
        path: str,
        body: bytes | Upload | None,
        headers: Mapping[str, str] | None,
        timeout: float,
        consume: Callable[[Answer], Result],
    ) -> Result:
        """What `consume` makes of the answer; a body that breaks off is asked for again."""
        sent = dict(headers or {})
        if method == "POST":
            sent.setdefault("Idempotency-Key", new_idempotency_key())
        repeatable = method in IDEMPOTENT_METHODS or "Idempotency-Key" in sent
        patience = Patience(time.monotonic(), patience_seconds=self.patience_seconds, timeout_seconds=timeout)
        while True:
            left = patience.remaining(time.monotonic())
            with self.open(method, path, body, sent, left) as answer:
                try:
                    return consume(answer)
                except ConnectionLost:
                    pause = patience.pause(time.monotonic()) if repeatable else None
                    if pause is None:
                        raise
            time.sleep(pause)

    def open(
        self,
        method: str,
        path: str,
        body: bytes | Upload | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        *,
        silence_seconds: float | None = None,
    ) -> Answer:
        """An answer whose head is there and whose body is still to be read; use it in `with`.

        `timeout` bounds the wait for the head and, unless `silence_seconds` is given, the body too; `silence_seconds` instead
        bounds the wait for each next piece of an endless body.
        """
        sent = {**self._headers, **(headers or {})}
        if method == "POST" and "Idempotency-Key" not in sent:
            sent["Idempotency-Key"] = new_idempotency_key()
        repeatable = method in IDEMPOTENT_METHODS or "Idempotency-Key" in sent
        patience = Patience(time.monotonic(), patience_seconds=self.patience_seconds, timeout_seconds=timeout)
        length = None if body is None else body.size_bytes if isinstance(body, Upload) else len(body)
        head = encode_head(self.address, method, path, sent, length if length is not None or method in IDEMPOTENT_METHODS else 0)
        while True:
            connection = None
            try:
                connection = self._take(patience)
                answer = connection.exchange(method, head, body, patience, silence_seconds)
            except TransportFailure as failure:
                stale = connection is not None and connection.exchanges > 0
                if connection is not None:
                    connection.close()
                safe = repeatable or isinstance(failure, NotConnected)
                if not safe or isinstance(failure, (TimedOut, ProtocolViolation)):
                    raise
                if stale:  # the server closed it while it rested: not a failure of the server
                    continue
                pause = patience.pause(time.monotonic())
                if pause is None:
                    raise
                time.sleep(pause)
                continue
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
            asked = asked_pause_seconds(answer.status, answer.headers) if repeatable else None
            if asked is not None:
                pause = patience.pause(time.monotonic(), asked_seconds=asked)
                if pause is not None:
                    answer.close()
                    time.sleep(pause)
                    continue
            return answer

    def close(self) -> None:
        """Close the connections that rest."""
        while self._idle:
            self._idle.pop().close()

    def _take(self, patience: Patience) -> _Connection:
        now = time.monotonic()
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was first
                break
            if now - connection.rested_at < IDLE_SECONDS:
                return connection
            connection.close()
        return self._connect(min(self._connect_timeout_seconds, patience.remaining(now)))

    def _give_back(self, connection: _Connection) -> None:
        if len(self._idle) >= IDLE_CONNECTIONS_LIMIT:
            connection.close()
            return
        connection.rested_at = time.monotonic()
        self._idle.append(connection)

    def _connect(self, timeout_seconds: float) -> _Connection:
        address = self.address
        host = address.host.encode() if address.host.isascii() else address.host  # bytes spare the import of the IDNA tables
        try:
            raw = socket.create_connection((host, address.port), timeout_seconds)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise NotConnected(f"{address.url} does not answer within {timeout_seconds:.0f} s") from error
        except OSError as error:
            raise NotConnected(f"{address.url}: {reason_of(error)}") from error
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not address.secure:
            return _Connection(self, raw)
        import ssl

        try:
            if self._tls is None:
                self._tls = ssl.create_default_context(cafile=self._ca_file)
            return _Connection(self, self._tls.wrap_socket(raw, server_hostname=address.host))
        except (OSError, ValueError) as error:
            raw.close()
            raise NotConnected(f"{address.url}: TLS failed: {error}") from error


class _Connection:
    """One socket, one exchange at a time."""

    __slots__ = ("_socket", "_transport", "exchanges", "rested_at")

    def __init__(self, transport: Transport, connected: socket.socket) -> None:
        self._transport = transport
        self._socket = connected
        self.exchanges = 0
        self.rested_at = 0.0

    def exchange(self, method: str, head: bytes, body: bytes | Upload | None, patience: Patience, silence_seconds: float | None) -> Answer:
        """Send the request and read the head of its answer."""
        parser = ResponseParser(method)
        try:
            self._send(head, body, patience)
        except ConnectionLost:
            # A server that refuses a body may answer and close before it has read it all: its answer may be waiting.
            if not isinstance(body, Upload):
                raise
        first = b""
        while not parser.status:
            first += parser.feed(self.receive(parser, patience.remaining(time.monotonic())))
        return Answer(self, parser, first, patience, silence_seconds)

    def _send(self, head: bytes, body: bytes | Upload | None, patience: Patience) -> None:
        pieces = iter([head + (body or b"")]) if not isinstance(body, Upload) else body.chunks()
        try:
            if isinstance(body, Upload):
                self._socket.settimeout(patience.remaining(time.monotonic()))
                self._socket.sendall(head)
            for piece in pieces:
                self._socket.settimeout(patience.remaining(time.monotonic()))
                self._socket.sendall(piece)
        except TimeoutError as error:
            raise TimedOut("the request could not be sent within the time given") from error
        except OSError as error:
            raise ConnectionLost(f"the connection broke: {error}") from error

    def receive(self, parser: ResponseParser, timeout_seconds: float) -> bytes:
        """Some bytes of the answer.

        Raises:
            TransportFailure: the connection ended or stayed silent.
        """
        try:
            self._socket.settimeout(timeout_seconds)
            data = self._socket.recv(_READ_BYTES)
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
        self._socket.close()


class Answer:
    """An answer being read. Leaving the `with` block gives its connection back, or closes it if the body was not read."""

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

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece.

        Raises:
            TransportFailure: it broke before its end.
        """
        if self._first:
            first, self._first = self._first, b""
            yield first
        while not self._parser.complete and self._connection is not None:
            wait = self._silence_seconds if self._silence_seconds is not None else self._patience.remaining(time.monotonic())
            piece = self._parser.feed(self._connection.receive(self._parser, wait))
            if piece:
                yield piece

    def read(self, most_bytes: int = MOST_BODY_BYTES) -> bytes:
        """The whole body.

        Raises:
            ProtocolViolation: it is longer than `most_bytes`.
        """
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > most_bytes:
                raise ProtocolViolation(f"the answer is longer than {most_bytes} bytes")
        return bytes(body)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish(self._parser)

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
