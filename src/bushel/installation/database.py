"""The address of PostgreSQL, and the few questions that an installation asks it directly.

Guarantees: a password is taken out of an address before the address is written down or put on a command line; libpq
reads it from a 0600 file. Asking has a time-out and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from bushel.domain.errors import Conflict, FieldProblem, InvalidDocument, Unavailable

OLDEST_VERSION = 150000


def without_password(url: str) -> tuple[str, str | None]:
    """The address without its password, and the password.

    Raises:
        InvalidDocument: it is no address of PostgreSQL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise InvalidDocument([FieldProblem("", "--database-url must look like postgresql://user@host:5432/name")])
    account, at, hosts = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    found = unquote(password) if password else None
    words = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "password":
            found = value
        else:
            words.append((name, value))
    return urlunsplit((parts.scheme, user + at + hosts, parts.path, urlencode(words, safe="/"), "")), found


def with_password_file(url: str, password_file: Path) -> str:
    """The address with the file that libpq shall read the password from, unless it names one or there is none."""
    parts = urlsplit(url)
    if not password_file.exists() or "passfile=" in parts.query:
        return url
    words = [*parse_qsl(parts.query, keep_blank_values=True), ("passfile", str(password_file))]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(words), ""))


def password_line(password: str) -> str:
    """A line of libpq's pgpass format, for every host, database and user."""
    return "*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n"


def place(url: str) -> str:
    """`host:port/name`, for people."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


@dataclass(frozen=True, slots=True)
class Facts:
    """What a database says about itself. `leader` is None while nobody holds the lease of the controllers."""

    version: str
    version_number: int
    encoding: str
    now: datetime
    recovering: bool
    leader: dict[str, Any] | None
    partitions_until: str | None
    durable: bool
    size_bytes: int


def check(url: str) -> None:
    """Refuse a database that cannot be used, before anything is started on it.

    Raises:
        Unavailable: it does not answer.
        Conflict: it is too old, not in UTF8, or only a replica.
    """
    facts = ask(url)
    if facts.version_number < OLDEST_VERSION:
        raise Conflict(f"PostgreSQL {facts.version} at {place(url)} is too old", suggestion="use PostgreSQL 15 or newer")
    if facts.encoding != "UTF8":
        raise Conflict(
            f"{place(url)} has the encoding {facts.encoding}, and Bushel needs UTF8",
            suggestion="make a database with: createdb --encoding=UTF8 --template=template0 bushel",
        )
    if facts.recovering:
        raise Conflict(
            f"{place(url)} is a replica and takes no writes", suggestion="name the primary, or add ?target_session_attrs=read-write"
        )


def ask(url: str, *, timeout_seconds: int = 5) -> Facts:
    """Look at the database.

    Raises:
        Unavailable: it does not answer; the message is libpq's.
    """
    import psycopg
    from psycopg.conninfo import make_conninfo
    from psycopg.rows import dict_row

    given = make_conninfo(
        url, client_encoding="utf8", connect_timeout=timeout_seconds, options=f"-c statement_timeout={timeout_seconds}s -c TimeZone=UTC"
    )
    try:
        with psycopg.connect(given, autocommit=True) as connection, connection.cursor(row_factory=dict_row) as cursor:

            def one(query: LiteralString) -> dict[str, Any] | None:
                return cursor.execute(query).fetchone()

            server = one(_SERVER) or {}
            migrated = server["migrated"]
            leader = one(_LEADER) if migrated else None
            until = one(_PARTITIONS) if migrated else None
    except psycopg.Error as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise Unavailable(f"{place(url)}: {said[0].rpartition('failed: ')[2] if said else 'no answer'}") from error
    return Facts(
        version=server["version"].split()[0],
        version_number=int(server["number"]),
        encoding=server["encoding"],
        now=server["now"],
        recovering=server["recovering"],
        leader=leader,
        partitions_until=until["name"] if until else None,
        durable=server["fsync"] == "on" and server["commit"] != "off",
        size_bytes=server["size"],
    )


_SERVER = """
    select current_setting('server_version') as version, current_setting('server_version_num') as number,
           current_setting('server_encoding') as encoding,
           clock_timestamp() as now, pg_is_in_recovery() as recovering, to_regclass('migrations') is not null as migrated,
           current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit,
           pg_database_size(current_database()) as size
"""

_LEADER = """
    select name, holder, epoch, expires_at > clock_timestamp() as fresh
    from leases order by expires_at desc limit 1
"""

_PARTITIONS = """
    select inhrelid::regclass::text as name from pg_inherits where inhparent = 'events'::regclass
    order by inhrelid::regclass::text desc limit 1
"""
