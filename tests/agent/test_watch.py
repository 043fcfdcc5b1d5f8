"""A watch of Kubernetes objects misses nothing: pages, broken streams, places that the server forgot, a server that is busy."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bushel.agent.executors.kubernetes.access import Access
from bushel.agent.executors.kubernetes.api import Api
from bushel.agent.executors.kubernetes.watch import Watch
from tests.agent.conftest import wait_for


def item(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def event(kind: str, thing: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": thing}).encode() + b"\n"


class Server:
    """Answers lists from `lists`, one page after the other, and watches from `streams`; what was asked is in `asked`."""

    def __init__(self) -> None:
        self.lists: list[tuple[int, dict[str, Any]]] = []
        self.streams: list[list[bytes]] = []
        self.asked: list[dict[str, str]] = []
        self.quiet = threading.Event()  # the last stream stays open until this is set
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                server.asked.append(query)
                if query.get("watch"):
                    self._stream()
                    return
                status, page = server.lists.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(page).encode())

            def _stream(self) -> None:
                self.send_response(200)
                self.end_headers()
                if not server.streams:
                    server.quiet.wait(30)
                    return
                for line in server.streams.pop(0):
                    self.wfile.write(line)

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.quiet.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    scripted = Server()
    yield scripted
    scripted.close()


def page(*items: dict[str, Any], version: int, more: str = "") -> tuple[int, dict[str, Any]]:
    return 200, {"metadata": {"resourceVersion": str(version), **({"continue": more} if more else {})}, "items": list(items)}


def told_by(server: Server) -> tuple[Watch, list[tuple[str, bool]]]:
    told: list[tuple[str, bool]] = []
    watch = Watch(
        Api(Access("127.0.0.1", server.port, None)), "/things", lambda thing, gone: told.append((thing["metadata"]["name"], gone))
    )
    watch.start()
    return watch, told


def test_lists_come_in_pages_and_streams_go_on_where_they_broke(server: Server) -> None:
    server.lists = [page(item("a", 1), version=5, more="next"), page(item("b", 2), version=5)]
    server.streams = [
        [event("ADDED", item("c", 6)), event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})],
        [event("DELETED", item("a", 10)), b'{"type": "ADD'],
    ]
    watch, told = told_by(server)
    wait_for(lambda: len(server.asked) >= 5, "a third stream to be asked for")
    watch.stop()
    assert told == [("a", False), ("b", False), ("c", False), ("a", True)]
    assert server.asked[1]["continue"] == "next"
    assert [asked["resourceVersion"] for asked in server.asked if asked.get("watch")] == ["5", "9", "10"]


def test_a_place_that_was_forgotten_is_listed_again_and_what_went_is_told(server: Server) -> None:
    server.lists = [page(item("a", 1), item("b", 2), version=5), page(item("b", 2), item("d", 8), version=20)]
    server.streams = [[event("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})]]
    watch, told = told_by(server)
    wait_for(lambda: ("a", True) in told, "what is gone to be told")
    watch.stop()
    assert told == [("a", False), ("b", False), ("b", False), ("d", False), ("a", True)]


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.lists = [(429, {"reason": "TooManyRequests", "message": "busy"}), (503, {"message": "starting"}), page(item("a", 1), version=1)]
    watch, told = told_by(server)
    assert watch.synced.wait(20)
    watch.stop()
    assert told == [("a", False)]
