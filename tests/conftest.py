"""Real engines for the tests: one embedded PostgreSQL for each process of the run, one fresh database for each test that asks.

The tests may be run by several processes. Those of a file stay together, for they share what is slow to start; those that need Kubernetes
stay together, and those that kill processes go where there is time.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from bushel.installation.postgres import reachable_binaries
from bushel.store.database import Database
from bushel.store.migrate import migrate

_names = itertools.count(1)


class Together(LoadScopeScheduling):
    """Which tests one process runs: those of a file, all that need Kubernetes, or one alone that kills processes."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return {"tests/kubernetes": folder, "tests/faults": nodeid}.get(folder, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    return Together(config, log)


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would every process of ours; and no table is cut to a terminal."""
    os.environ.pop("COLUMNS", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server of our own on a free port, as an unprivileged user when the tests run as root."""
    home = Path(tempfile.mkdtemp(prefix="bushel-tests-"))
    home.chmod(0o711)
    data = home / "data"
    data.mkdir(mode=0o700)
    account: dict[str, int] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(data, nobody.pw_uid, nobody.pw_gid)
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    binaries = reachable_binaries(account.get("user"))
    port = free_port()
    initdb = [binaries / "initdb", "-D", data, "-U", "bushel", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
    subprocess.run(initdb, check=True, capture_output=True, cwd="/", **account)  # type: ignore[call-overload]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
         "-c", "fsync=off", "-c", "max_connections=200"],
        cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **account,  # type: ignore[call-overload]
    )  # fmt: skip
    url = f"postgresql://bushel@127.0.0.1:{port}/postgres"
    for _ in range(300):
        with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=1):
            break
        with suppress(subprocess.TimeoutExpired):
            server.wait(0.05)
            pytest.fail("PostgreSQL ended at its start")
    else:
        pytest.fail("PostgreSQL did not answer within 15 s")
    template = url.replace("/postgres", "/template")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create database template")
    migrate(template)
    yield url
    server.terminate()
    server.wait(20)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A migrated database of this test alone."""
    name = f"test_{next(_names)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'create database "{name}" template template')  # type: ignore[arg-type]
    yield postgres_url.replace("/postgres", f"/{name}")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)')  # type: ignore[arg-type]


@pytest.fixture
def ascii_url(postgres_url: str) -> Iterator[str]:
    """A database that takes any bytes for text."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create database plain encoding 'SQL_ASCII' locale 'C' template template0")
    yield postgres_url.replace("/postgres", "/plain")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop database plain with (force)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url) as opened:
        yield opened
