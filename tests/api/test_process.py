"""`python -m bushel.api`: how it starts, what it refuses, how it stops, and what it does while its database is away."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from bushel.control.bootstrap import ensure
from bushel.store.database import Database
from tests.api.conftest import Client

START_SECONDS, STOP_SECONDS = 20, 3


class Running:
    def __init__(self, process: subprocess.Popen[str], client: Client, ready_file: Path) -> None:
        self.process, self.client, self.ready_file = process, client, ready_file


def command(database_url: str, folder: Path, *more: str) -> list[str]:
    url_file = folder / "database-url"
    url_file.write_text(database_url + "\n")
    return [sys.executable, "-m", "bushel.api", "--database-url-file", str(url_file), "--state-folder", str(folder / "state"), *more]


def until(what: str, holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def running(database_url: str, tmp_path: Path) -> Iterator[Running]:
    with Database(database_url) as database:
        ensure(database, tmp_path / "token")
    ready = tmp_path / "ready"
    process = subprocess.Popen(command(database_url, tmp_path, "--port", "0", "--ready-file", str(ready)), text=True)
    try:
        until("the ready file", lambda: ready.exists() or process.poll() is not None, START_SECONDS)
        address = urlsplit(ready.read_text().strip())
        yield Running(process, Client(address.hostname or "", address.port or 0, (tmp_path / "token").read_text().strip()), ready)
    finally:
        process.kill()
        process.wait(10)


def test_it_answers_when_ready_and_stops_when_told_with_a_stream_open(running: Running) -> None:
    client = running.client
    assert client.get("/healthz").json() == {"status": "ok"}
    stream = http.client.HTTPConnection(client.host, client.port, timeout=30)
    stream.request("GET", "/v1/events/watch", headers={"Authorization": f"Bearer {client.token}"})
    assert stream.getresponse().status == 200
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(STOP_SECONDS) == 0, f"exit code after {time.monotonic() - began:.1f} s"
    assert not running.ready_file.exists()


def test_the_token_of_the_first_admin_is_its_owners_alone(running: Running, tmp_path: Path) -> None:
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert running.client.get("/v1/whoami").json()["name"] == "admin"


def test_it_answers_503_while_the_database_is_away_and_recovers(running: Running, database_url: str, postgres_url: str) -> None:
    name = database_url.rpartition("/")[2]
    assert running.client.get("/v1/scopes").status_code == 200
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'alter database "{name}" allow_connections false')  # type: ignore[arg-type]
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        away = running.client.get("/v1/scopes")
        assert (away.status_code, away.json()["code"]) == (503, "unavailable"), away.text
        assert away.headers["retry-after"]
        assert running.client.get("/healthz").status_code == 200
        connection.execute(f'alter database "{name}" allow_connections true')  # type: ignore[arg-type]
    until("an answer", lambda: running.client.get("/v1/scopes").status_code == 200, 15)


def test_it_waits_for_a_database_that_is_not_there_yet(database_url: str, tmp_path: Path, postgres_url: str) -> None:
    name, ready = database_url.rpartition("/")[2], tmp_path / "ready"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'alter database "{name}" allow_connections false')  # type: ignore[arg-type]
        process = subprocess.Popen(
            command(database_url, tmp_path, "--port", "0", "--ready-file", str(ready)), stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        try:
            assert "waiting" in process.stderr.readline()
            connection.execute(f'alter database "{name}" allow_connections true')  # type: ignore[arg-type]
            until("the ready file", ready.exists, START_SECONDS)
        finally:
            process.kill()
            process.communicate(timeout=10)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_it_does_not_listen_beyond_loopback_without_tls(host: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        command("postgresql://nowhere/x", tmp_path, "--host", host), capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    assert ended.returncode == 2
    assert "--tls-certificate" in ended.stderr


def test_it_says_that_the_port_is_taken(tmp_path: Path) -> None:
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        ended = subprocess.run(
            command("postgresql://nowhere/x", tmp_path, "--port", port), capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
    assert ended.returncode == 1
    assert port in ended.stderr
    assert "in use" in ended.stderr


@pytest.mark.parametrize("point", ["bootstrap.before_token_file", "bootstrap.after_token_file", "database.before_commit"])
def test_a_bootstrap_that_is_killed_is_done_by_the_next_one(point: str, database_url: str, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    bootstrap = [sys.executable, "-m", "bushel.control.bootstrap", "--database-url", database_url, "--token-file", str(token_file)]
    killed = subprocess.run(bootstrap, env=os.environ | {"BUSHEL_FAILPOINT": point}, check=False, timeout=START_SECONDS)
    assert killed.returncode == -signal.SIGKILL
    subprocess.run(bootstrap, check=True, timeout=START_SECONDS)
    with Database(database_url) as database, database.transaction() as tx:
        assert tx.one("select count(*) as count from principals")["count"] == 1
        assert tx.one("select id from tokens")["id"] == token_file.read_text().split("_")[1]


def test_whoever_holds_the_database_gets_a_new_admin_token(running: Running, database_url: str, tmp_path: Path) -> None:
    bootstrap = [sys.executable, "-m", "bushel.control.bootstrap", "--database-url", database_url, "--token-file", str(tmp_path / "token")]
    subprocess.run([*bootstrap, "--replace-token"], check=True, timeout=START_SECONDS)
    until("the end of the old token", lambda: running.client.get("/v1/whoami").status_code == 401, 2)
    renewed = running.client.with_token((tmp_path / "token").read_text().strip())
    assert renewed.get("/v1/whoami").json()["name"] == "admin"


@pytest.mark.parametrize("point", ["bootstrap.before_token_file", "bootstrap.after_replaced_token_file", "database.before_commit"])
def test_a_replacement_that_is_killed_is_done_by_the_next_one(point: str, running: Running, database_url: str, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    bootstrap = [sys.executable, "-m", "bushel.control.bootstrap", "--database-url", database_url, "--token-file", str(token_file)]
    replace = [*bootstrap, "--replace-token"]
    killed = subprocess.run(replace, env=os.environ | {"BUSHEL_FAILPOINT": point}, check=False, timeout=START_SECONDS)
    assert killed.returncode == -signal.SIGKILL
    assert running.client.get("/v1/whoami").status_code == 200  # the old one holds until the new one does
    subprocess.run(replace, check=True, timeout=START_SECONDS)
    renewed = running.client.with_token(token_file.read_text().strip())
    assert renewed.get("/v1/whoami").json()["name"] == "admin"
