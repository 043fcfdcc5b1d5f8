"""Connections, transactions and what belongs to every one of them: events, audit rows and wake-ups.

Guarantees: events and audit rows that a transaction collects are written by that transaction, so they exist exactly
when its effect does; wake-ups are sent after the commit, coalesced, from another connection, and a lost one costs a
poll, never a job. No transaction is open while the caller talks to anybody else; every statement has a time-out. When
a connection broke, the idle ones are checked at once, so that a restarted server does not cost one request for each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool, PoolTimeout

from bushel.domain.errors import Conflict, Unavailable
from bushel.domain.failpoints import reach

CHANNEL = "bushel"
STATEMENT_TIMEOUT_SECONDS = 30
WAKE_PAUSE_SECONDS = 0.002
"""After hints were sent, those of so long are sent together."""

POOL_TIMEOUT_SECONDS = 10

SCHEDULE = "schedule"
"""Topic: something changed that may let a job start."""

EVENTS = "events"
"""Topic: there are new events."""


ENCODING = "utf8"
"""Of every connection, whatever its address or the environment says."""


def cluster_topic(cluster_id: int) -> str:
    """Topic: what is wanted of this cluster's agent changed."""
    return f"cluster:{cluster_id}"


@dataclass(frozen=True, slots=True)
class Event:
    """A fact that became true. `scope_path` is the place in the tenancy tree whose readers may see it."""

    kind: str
    scope_path: str
    object: str
    actor: str
    body: Mapping[str, Any] = field(default_factory=dict)
    job_id: int | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what, by which request."""

    principal_id: int
    token_id: str | None
    action: str
    object: str
    scope_path: str
    request_id: str
    detail: Mapping[str, Any] = field(default_factory=dict)


_WRITE_FACTS = """
    with facts as (
        insert into events (kind, scope_path, job_id, object, actor, body)
        select * from jsonb_to_recordset(%s) as e (kind text, scope_path text, job_id bigint, object text, actor text, body jsonb)
    )
    insert into audit (principal_id, token_id, action, object, scope_path, request_id, detail)
    select * from jsonb_to_recordset(%s) as a (
        principal_id bigint, token_id text, action text, object text, scope_path text, request_id text, detail jsonb
    )
"""  # one JSON text a table is much cheaper to write and to read than arrays of texts that contain JSON


class Transaction:
    """One open transaction. Rows come back as dictionaries."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self.connection = connection
        self.topics: set[str] = set()
        self._events: list[Event] = []
        self._audit: list[AuditEntry] = []
        self._now: datetime | None = None
        self._reader = connection.cursor()  # for all queries whose rows are fetched at once: making one costs as much as a small query

    @property
    def now(self) -> datetime:
        """The database's clock at the start of this transaction: the one clock that all of the control plane decides by."""
        now = self._now or self.one("select now() as now")["now"]
        self._now = now
        return now

    def execute(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> psycopg.Cursor[dict[str, Any]]:
        return self.connection.execute(query, parameters)  # type: ignore[arg-type]

    def all(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        return self._reader.execute(query, parameters).fetchall()  # type: ignore[arg-type]

    def first(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        return self._reader.execute(query, parameters).fetchone()  # type: ignore[arg-type]

    def one(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> dict[str, Any]:
        row = self.first(query, parameters)
        if row is None:
            raise LookupError("a query that always has a row had none")
        return row

    @contextmanager
    def together(self) -> Iterator[None]:
        """Statements of this block travel together: the server answers all of them at the end, or when the first rows are looked at."""
        with self.connection.pipeline():
            yield

    def emit(self, *events: Event) -> None:
        """Facts of this transaction, written with it."""
        self._events.extend(events)
        self.topics.add(EVENTS)

    def audit(self, *entries: AuditEntry) -> None:
        self._audit.extend(entries)

    def wake(self, topic: str) -> None:
        """Send a hint on `topic` once this transaction is committed."""
        self.topics.add(topic)

    def flush(self) -> None:
        """Write what was collected. The transaction does this by itself before it commits."""
        if self._events or self._audit:
            self.execute(
                _WRITE_FACTS, (Jsonb([_fields(event) for event in self._events]), Jsonb([_fields(entry) for entry in self._audit]))
            )
            self._events.clear()
            self._audit.clear()


def _fields(row: Event | AuditEntry) -> dict[str, Any]:
    values = ((name, getattr(row, name)) for name in row.__slots__)
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values}


class Database:
    """A pool of connections to one database, and the thread that sends its wake-ups."""

    def __init__(self, url: str, *, most_connections: int = 8, name: str = "bushel") -> None:
        self.url = url
        options = (
            f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s -c lock_timeout=10s "
            "-c idle_in_transaction_session_timeout=30s -c TimeZone=UTC"
        )
        self._pool: ConnectionPool[psycopg.Connection[dict[str, Any]]] = ConnectionPool(
            url,
            kwargs={
                "row_factory": dict_row,
                "options": options,
                "application_name": name,
                "connect_timeout": 5,
                "client_encoding": ENCODING,
            },
            connection_class=psycopg.Connection[dict[str, Any]],
            min_size=1,
            max_size=most_connections,
            timeout=POOL_TIMEOUT_SECONDS,
            reconnect_timeout=5,
            open=False,
        )
        self._checking = threading.Lock()
        self._waker = _Waker(url)

    def open(self, *, timeout_seconds: float = POOL_TIMEOUT_SECONDS) -> Database:
        """Connect.

        Raises:
            Unavailable: the database does not answer in time.
            Conflict: it cannot hold all texts.
        """
        self._pool.open()
        try:
            self._pool.wait(timeout_seconds)
            with self._pool.connection() as connection:
                check_encoding(connection)
        except PoolTimeout as error:
            self._pool.close()
            raise Unavailable("the database does not answer", suggestion="bushel doctor") from error
        except Conflict:
            self._pool.close()
            raise
        self._waker.start()
        return self

    def close(self) -> None:
        self._waker.stop()
        self._pool.close()

    def __enter__(self) -> Database:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit at the end of the block, roll back if it raises.

        Raises:
            Unavailable: the connection was lost. If it was lost at the commit the transaction may have happened: ask by key.
        """
        connection = None
        try:
            with self._pool.connection() as connection:
                tx = Transaction(connection)
                yield tx
                tx.flush()
                reach("database.before_commit")
                connection.commit()
                reach("database.after_commit")
        except PoolTimeout as error:
            raise Unavailable("the database does not answer", suggestion="bushel doctor") from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if connection is None or connection.closed:
                self._replace_broken()
            raise Unavailable(f"the database did not finish: {str(error).strip()}", suggestion="send the same request again") from error
        self.wake(tx.topics)

    def wake(self, topics: Iterable[str]) -> None:
        """Send hints now."""
        self._waker.add(topics)

    def _replace_broken(self) -> None:
        """Check the idle connections, in a thread of its own: what broke one has often broken all."""

        def check() -> None:
            try:
                with suppress(psycopg.Error):
                    self._pool.check()
            finally:
                self._checking.release()

        if self._checking.acquire(blocking=False):
            threading.Thread(target=check, name="connection check", daemon=True).start()


def check_encoding(connection: psycopg.Connection[Any]) -> None:
    """Refuse a database that cannot hold every text, or would not know where its characters begin.

    Raises:
        Conflict: its encoding is not UTF8.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise Conflict(
            f"the database {connection.info.dbname} has the encoding {encoding}, and Bushel needs UTF8",
            suggestion=f"make one with: createdb --encoding=UTF8 --template=template0 {connection.info.dbname}-utf8",
        )


class _Waker:
    """Sends the topics that gathered while the last ones were being sent."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._topics: set[str] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(5)

    def add(self, topics: Iterable[str]) -> None:
        with self._changed:
            self._topics.update(topics)
            self._changed.notify()

    def _run(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._topics or self._stopping)
                if self._stopping and not self._topics:
                    break
                topics, self._topics = self._topics, set()
            try:
                if connection is None:
                    connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5, client_encoding=ENCODING)
                connection.execute("select pg_notify(%s, topic) from unnest(%s::text[]) topic", (CHANNEL, sorted(topics)))
            except psycopg.Error:  # a lost hint costs a poll
                if connection is not None:
                    connection.close()
                connection = None
            time.sleep(WAKE_PAUSE_SECONDS)
        if connection is not None:
            connection.close()
