"""The whole API over HTTP, on a database of its own for each test."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn

from bushel.api.app import create_app
from bushel.api.settings import Settings
from bushel.control.bootstrap import Bootstrapped, bootstrap
from bushel.store import tokens
from bushel.store.database import Database


class Response:
    def __init__(self, status_code: int, headers: http.client.HTTPMessage, content: bytes) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """Asks one address with one token. `post(path, json=…)` and the like; no status is an error here."""

    def __init__(self, host: str, port: int, token: str | None) -> None:
        self.host, self.port, self.token = host, port, token
        self._connections = threading.local()

    def with_token(self, token: str | None) -> Client:
        return Client(self.host, self.port, token)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        sent = dict(headers or {})
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if json is not None:
            content = _dump(json)
            sent.setdefault("Content-Type", "application/json")
        target = path + ("?" + urlencode(params, doseq=True) if params else "")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, target, content, sent)
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **rest: Any) -> Response:
        return self.request("GET", path, **rest)

    def post(self, path: str, **rest: Any) -> Response:
        return self.request("POST", path, **rest)

    def put(self, path: str, **rest: Any) -> Response:
        return self.request("PUT", path, **rest)

    def patch(self, path: str, **rest: Any) -> Response:
        return self.request("PATCH", path, **rest)

    def delete(self, path: str, **rest: Any) -> Response:
        return self.request("DELETE", path, **rest)


def _dump(document: Any) -> bytes:
    return json.dumps(document).encode()


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """The test process keeps its own."""


def serve(database: Database, settings: Settings) -> Iterator[tuple[str, int, Any]]:
    """Run the app on a free port until the generator is closed: host, port and the app."""
    app = create_app(database, settings)
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1, access_log=False))
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()
    deadline = time.monotonic() + 15
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise AssertionError("the API did not start within 15 s")
        time.sleep(0.005)
    yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1], app
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, state_folder=tmp_path)


@pytest.fixture
def installation(database: Database) -> Bootstrapped:
    """What a new installation holds."""
    with database.transaction() as tx:
        return bootstrap(tx)


@pytest.fixture
def app_client(database: Database, settings: Settings, installation: Bootstrapped) -> Iterator[Client]:
    """The API, asked by the first admin."""
    for host, port, _ in serve(database, settings):
        yield Client(host, port, installation.token)


@pytest.fixture
def as_principal(app_client: Client, database: Database) -> Callable[..., Client]:
    """`as_principal("ada", "member", "home/main")`: the API, asked by a new user with that one role."""

    def make(
        name: str, role: str | None = None, scope: str = "home", *, kind: str = "user", scopes: tuple[str, ...] = ("read", "write")
    ) -> Client:
        with database.transaction() as tx:
            principal = tx.one(
                "insert into principals (kind, name, scope_id) select %s, %s, id from scopes where path = %s returning id",
                (kind, name, "home" if kind == "user" else scope),
            )["id"]
            if role is not None:
                tx.execute(
                    "insert into role_bindings (principal_id, scope_id, role) select %s, id, %s from scopes where path = %s",
                    (principal, role, scope),
                )
            _, token = tokens.create(tx, principal, "test", scopes)
        return app_client.with_token(token)

    return make
