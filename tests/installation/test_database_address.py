"""Addresses of PostgreSQL: a password never stays in one."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from bushel.domain.errors import Conflict, InvalidDocument
from bushel.installation.database import check, password_line, place, with_password_file, without_password


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://ada:s%3Acret@db:5432/bushel", "s:cret"),
        ("postgresql://ada@db/bushel?password=x%26y&sslmode=require", "x&y"),
        ("postgres://ada@db/bushel", None),
        ("postgresql://ada:pw@one:5432,two:5433/bushel?target_session_attrs=read-write", "pw"),
    ],
)
def test_the_password_is_taken_out_and_the_rest_stays(url: str, password: str | None) -> None:
    bare, found = without_password(url)
    assert found == password
    assert password is None or password not in bare
    before, after = conninfo_to_dict(url), conninfo_to_dict(bare)
    before.pop("password", None)
    assert after == before


def test_libpq_reads_the_password_from_the_file(tmp_path: Path, postgres_url: str) -> None:
    word = "it's a:b\\c"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create role password_reader login")
    file = tmp_path / "password"
    file.write_text(password_line(word))
    file.chmod(0o600)
    url = with_password_file(postgres_url.replace("bushel@", "password_reader@"), file)
    with psycopg.connect(url) as connection:
        assert connection.info.password == word  # trust asks for none; what matters is what libpq would send


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidDocument, match="postgresql://user@host"):
        without_password("mysql://db/bushel")


def test_people_see_host_and_name_alone() -> None:
    assert place("postgresql://ada@db:5432/bushel?sslmode=require") == "db:5432/bushel"


def test_a_database_that_is_not_in_utf8_is_refused_before_anything_starts(ascii_url: str) -> None:
    with pytest.raises(Conflict, match="plain has the encoding SQL_ASCII, and Bushel needs UTF8"):
        check(ascii_url)
