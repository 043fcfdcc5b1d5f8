"""Transactions keep their events; connections are what they must be, and are replaced when they break."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import psycopg
import pytest

from bushel.domain.errors import Conflict, Unavailable
from bushel.store.database import Database, Event
from bushel.store.migrate import migrate


def test_an_event_exists_exactly_when_its_transaction_does(database: Database) -> None:
    event = Event(kind="job.submitted", scope_path="acme", object="job/1", actor="test")

    def fail() -> None:
        with database.transaction() as tx:
            tx.emit(event)
            tx.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.transaction() as tx:
        tx.emit(event)
    with database.transaction() as tx:
        assert len(tx.all("select * from events")) == 1


def test_a_database_that_is_not_in_utf8_is_refused_with_the_way_out(ascii_url: str) -> None:
    for use in (lambda: migrate(ascii_url), lambda: Database(ascii_url).open()):
        with pytest.raises(Conflict, match="the database plain has the encoding SQL_ASCII, and Bushel needs UTF8") as refused:
            use()
        assert refused.value.suggestion == "make one with: createdb --encoding=UTF8 --template=template0 plain-utf8"


def test_the_encoding_of_the_client_does_not_matter(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    assert migrate(database_url) == []
    with Database(database_url) as database, database.transaction() as tx:
        assert tx.one("select '→' || %s as text", ("漢",))["text"] == "→漢"


def test_a_restart_of_the_server_costs_one_transaction_and_not_one_for_each_connection(database_url: str) -> None:
    with Database(database_url, most_connections=4, name="restarted") as database:
        with ExitStack() as together:
            pids = {together.enter_context(database.transaction()).one("select pg_backend_pid() as pid")["pid"] for _ in range(4)}
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute("select pg_terminate_backend(pid, 5000) from unnest(%s::int[]) pid", (list(pids),))
        with pytest.raises(Unavailable), database.transaction() as tx:
            tx.execute("select 1")
        for thread in threading.enumerate():
            if thread.name == "connection check":
                thread.join(5)
        for _ in range(8):
            with database.transaction() as tx:
                assert tx.one("select pg_backend_pid() as pid")["pid"] not in pids
