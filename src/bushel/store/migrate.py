"""Bring a database to the schema of this version.

Guarantees: each migration and the row that says it ran share a transaction; two processes that start at once do the
work once; a database that a newer version has migrated is refused, not guessed at.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import psycopg

from bushel.domain.errors import Conflict
from bushel.store.database import ENCODING, check_encoding

OLDEST_POSTGRESQL = 150000
_LOCK = 0x6275736865  # any number of our own, for pg_advisory_xact_lock


def migrate(url: str) -> list[str]:
    """Names of the migrations that ran now.

    Raises:
        Conflict: the server is too old, the database is not in UTF8, or it belongs to a newer Bushel.
    """
    ran: list[str] = []
    with psycopg.connect(url, autocommit=True, connect_timeout=10, client_encoding=ENCODING) as connection:
        _check_server(connection)
        for name, statements in _migrations():
            with connection.transaction():
                connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
                connection.execute(
                    "create table if not exists migrations (name text primary key, ran_at timestamptz not null default now())"
                )
                if connection.execute("select 1 from migrations where name = %s", (name,)).fetchone() is None:
                    connection.execute(statements)  # type: ignore[arg-type]
                    connection.execute("insert into migrations (name) values (%s)", (name,))
                    ran.append(name)
        known = [name for name, _ in _migrations()]
        newer = connection.execute("select name from migrations where name <> all(%s)", (known,)).fetchall()
    if newer:
        raise Conflict(f"the database was migrated by a newer Bushel ({newer[0][0]})", suggestion="run that version, or restore a backup")
    return ran


def _migrations() -> list[tuple[str, str]]:
    folder = resources.files("bushel.store") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [(file.name.removesuffix(".sql"), file.read_text()) for file in files]


def _check_server(connection: psycopg.Connection[Any]) -> None:
    version = connection.info.server_version
    if version < OLDEST_POSTGRESQL:
        raise Conflict(f"PostgreSQL {version // 10000} is too old", suggestion="use PostgreSQL 15 or newer")
    check_encoding(connection)
