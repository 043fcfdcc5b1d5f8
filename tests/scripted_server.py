"""A server that does to a connection exactly what a test says, byte by byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Act = Callable[["Exchange"], None]


class Exchange:
    """One connection, from the server's side."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def request(self) -> bytes:
        """The next request: its head and its body."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        while len(rest) < length:
            self._more()
            rest = self._buffer.partition(b"\r\n\r\n")[2]
        self._buffer = rest[length:]
        return head + b"\r\n\r\n" + rest[:length]

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def answer(self, body: bytes, *, status: str = "200 OK", headers: str = "") -> None:
        self.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)

    def close(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _more(self) -> None:
        data = self._connection.recv(65536)
        if not data:
            raise ConnectionError("the client went away")
        self._buffer += data


class ScriptedServer:
    """Runs the acts in the order in which connections come, the last one for all that follow. `requests` is what came."""

    def __init__(self, acts: list[Act]) -> None:
        self._acts = acts
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                act = self._acts[min(self.connections, len(self._acts) - 1)]
                self.connections += 1
            threading.Thread(target=self._play, args=(act, connection), daemon=True).start()

    def _play(self, act: Act, connection: socket.socket) -> None:
        exchange = _Recording(connection, self)
        with suppress(OSError):
            act(exchange)
        exchange.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listening.close()


class _Recording(Exchange):
    def __init__(self, connection: socket.socket, server: ScriptedServer) -> None:
        super().__init__(connection)
        self._server = server

    def request(self) -> bytes:
        request = super().request()
        with self._server._lock:
            self._server.requests.append(request)
        return request


@contextmanager
def scripted(*acts: Act) -> Iterator[ScriptedServer]:
    server = ScriptedServer(list(acts))
    try:
        yield server
    finally:
        server.close()
