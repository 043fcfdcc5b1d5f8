"""Start and stop an installation: what `bushel up` and `bushel down` do.

Guarantees: starting twice is starting once; what runs is never changed by a start, so an option that contradicts it is
refused; nothing listens beyond loopback without TLS; a start that fails stops what it started and says why. A stop leaves
tasks running unless told otherwise.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bushel.domain.errors import Conflict, FieldProblem, InvalidDocument, Unavailable
from bushel.installation import database, parts, postgres
from bushel.installation.home import DEFAULT_PORT, FIRST_PROJECT, LOOPBACK, Home, Settings, locked, write_private
from bushel.installation.parts import last_line
from bushel.installation.ports import free_port, holder, is_free
from bushel.installation.supervision import STOP_SECONDS, STOP_TASKS_SECONDS, await_end, send, spawn
from bushel.spec.settings import reclaim_settings

T = TypeVar("T")

START_SECONDS = 60.0
WORK_SECONDS = 10.0
"""How long a start waits for a leader and an agent once a job can be submitted."""

_TRIES = 5
_PORTS_TRIED = 100
_POLL_SECONDS = 0.02
_OWN_CHANGE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for; None leaves it as it is, or as it is by default."""

    host: str | None = None
    port: int | None = None  # 0: any that is free
    tls_certificate: str | None = None
    tls_key: str | None = None
    database_url: str | None = None


Tell = Callable[[str, str], None]
"""Called with a part and what there is to say about it, as soon as it is ready."""


def up(home: Home, wanted: Wanted, tell: Tell = lambda *_: None) -> Settings:
    """Start what does not run, and return when a job can be submitted.

    Raises:
        Conflict: something else runs there, or holds the port.
        InvalidDocument: the options do not go together, or a setting in the environment cannot be understood.
        Unavailable: a part did not start.
    """
    began = time.monotonic()
    reclaim_settings(os.environ)
    home.make()
    with locked(home.change_lock, wait_seconds=_OWN_CHANGE_SECONDS):
        supervisor = None
        if home.supervised() and home.status().get("state") not in ("stopping", "stopped"):
            settings = home.settings()
            _refuse_change(settings, wanted)
        else:
            await_end(home)
            settings = _decide(home, wanted)
            _write_address(home, settings)
            _tell_agents(home, settings)  # now: an agent that has begun does not read it again
            supervisor = spawn(home)
        try:
            settings = _await_api(home, tell, began, supervisor)
            _await_work(home, settings, tell)
        except BaseException:
            if supervisor is not None:
                supervisor.terminate()
                await_end(home)
            raise
    return settings


def down(home: Home, *, stop_tasks: bool = False) -> Stopped | None:
    """Stop all parts, in order. None: none ran.

    Raises:
        Unavailable: they did not stop in time.
    """
    if not home.run.exists():
        return None
    with locked(home.change_lock, wait_seconds=_OWN_CHANGE_SECONDS):
        if not home.supervised():
            return None
        home.stop_tasks_file.unlink(missing_ok=True)
        if stop_tasks:
            write_private(home.stop_tasks_file, "")
        send(home, signal.SIGTERM)
        await_end(home, within_seconds=STOP_TASKS_SECONDS if stop_tasks else STOP_SECONDS)
        home.stop_tasks_file.unlink(missing_ok=True)
        ends = {part["name"]: part["last_exit"] for part in home.status().get("parts", ()) if part["kind"] == "agent"}
    return Stopped(tuple(name.removeprefix("agent-") for name, code in ends.items() if code != 0))


@dataclass(frozen=True, slots=True)
class Stopped:
    """`unparked`: clusters whose agents could not say farewell, so their tasks end when the lease does."""

    unparked: tuple[str, ...]


# Deciding ----------------------------------------------------------------------------------------------------------


def _decide(home: Home, wanted: Wanted) -> Settings:
    """The settings to start with: those of the last start, changed by what is wanted now."""
    before = home.settings() if home.exists() else None
    settings = before or Settings(id=secrets.token_hex(6))
    settings = _with_address(settings, wanted, first=before is None)
    url = wanted.database_url
    if url is None and before is not None and before.embedded is None:
        url = before.database_url
    if url is not None:
        if before is not None and before.embedded is not None:
            raise Conflict(
                f"the installation in {home.path} has its own PostgreSQL",
                suggestion="use another BUSHEL_HOME, or move the data as docs/guides/operate.md says",
            )
        bare, password = database.without_password(url)
        if password is not None:
            write_private(home.password_file, database.password_line(password))
        settings = replace(settings, database_url=database.with_password_file(bare, home.password_file), embedded=None)
        database.check(settings.database_url)
    else:
        settings = replace(settings, embedded=postgres.prepare(home, settings.id, settings.embedded))
    home.save(settings)
    return settings


def _with_address(settings: Settings, wanted: Wanted, *, first: bool) -> Settings:
    certificate = _file(wanted.tls_certificate, "--tls-certificate") or settings.tls_certificate
    key = _file(wanted.tls_key, "--tls-key") or settings.tls_key
    host = wanted.host or settings.host
    if (certificate is None) != (key is None):
        raise InvalidDocument([FieldProblem("", "--tls-certificate and --tls-key go together")])
    if host not in LOOPBACK and certificate is None:
        raise InvalidDocument(
            [FieldProblem("", f"listening on {host} needs TLS", suggestion="--tls-certificate FILE --tls-key FILE, or --host 127.0.0.1")]
        )
    if wanted.port == 0:
        port = settings.port if not first and is_free(host, settings.port) else free_port(host)
    elif wanted.port is not None or not first:
        port = wanted.port if wanted.port is not None else settings.port
        if not is_free(host, port):
            raise Conflict(f"port {port} is held by {holder(port) or 'somebody'}", suggestion="bushel up --port 0 takes one that is free")
    else:
        port = next((port for port in range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED) if is_free(host, port)), 0) or free_port(host)
    return replace(settings, host=host, port=port, tls_certificate=certificate, tls_key=key)


def _file(name: str | None, option: str) -> str | None:
    if name is None:
        return None
    path = Path(name).expanduser().absolute()
    if not os.access(path, os.R_OK):
        raise InvalidDocument([FieldProblem("", f"{option}: {path} cannot be read")])
    return str(path)


def _refuse_change(settings: Settings, wanted: Wanted) -> None:
    changes = {
        "--host": (wanted.host, settings.host),
        "--port": (wanted.port or None, settings.port),
        "--tls-certificate": (_file(wanted.tls_certificate, "--tls-certificate"), settings.tls_certificate),
        "--tls-key": (_file(wanted.tls_key, "--tls-key"), settings.tls_key),
    }
    for option, (asked, running) in changes.items():
        if asked is not None and asked != running:
            raise Conflict(f"it runs already, with {option} {running}", suggestion="bushel down, then bushel up again: tasks go on")
    if wanted.database_url is not None and settings.embedded is not None:
        raise Conflict("it runs already, with a PostgreSQL of its own", suggestion="use another BUSHEL_HOME")


def _write_address(home: Home, settings: Settings) -> None:
    """Where the command line finds the API, and the project that it uses until a person chooses another."""
    before: dict[str, Any] = {}
    with suppress(FileNotFoundError, ValueError):  # a file that was spoilt is made anew
        before = dict(json.loads(home.api_file.read_text()))
    address = {"url": settings.url, "ca": settings.tls_certificate, "project": before.get("project", FIRST_PROJECT)}
    write_private(home.api_file, json.dumps(address) + "\n")


def _tell_agents(home: Home, settings: Settings) -> None:
    """Where the API will be, for the agents of this machine."""
    for name in home.cluster_names():
        file = home.agents / name / "agent.json"
        now = json.loads(file.read_text())
        told = {**now, "url": settings.url, "ca_file": settings.tls_certificate}
        if told != now:
            write_private(file, json.dumps(told, indent=2) + "\n")


# Waiting -----------------------------------------------------------------------------------------------------------


def _await_api(home: Home, tell: Tell, began: float, supervisor: subprocess.Popen[bytes] | None) -> Settings:
    """Until the database is filled and the API answers. Returns the settings as they are now."""
    from bushel.installation.control_plane import answers  # imported while the parts start

    deadline = time.monotonic() + START_SECONDS
    database_told = False
    while True:
        status = home.status()
        _raise_failure(home, status, supervisor)
        if status.get("bootstrapped"):
            settings = home.settings()
            if not database_told:
                tell("PostgreSQL", _database_words(home, settings, time.monotonic() - began))
                database_told = True
            if answers(settings):
                tell("API", f"ready   {settings.url}")
                return settings
        if time.monotonic() > deadline:
            raise Unavailable(f"it did not start within {START_SECONDS:.0f} s", suggestion=f"bushel doctor, or look into {home.part_logs}")
        time.sleep(_POLL_SECONDS)


def _await_work(home: Home, settings: Settings, tell: Tell) -> None:
    """Until somebody leads and this machine's agent takes work, or it is clear that this takes longer."""
    from bushel.installation import clusters

    local = clusters.ensure_local(home, settings)
    deadline = time.monotonic() + WORK_SECONDS
    leader = _wait(deadline, lambda: control_status(home))
    tell("controllers", f"ready   leader, epoch {leader['epoch']}" if leader else "waiting for the lease of the last leader")
    words = _wait(deadline, lambda: clusters.ready_words(home, settings, local) or _keeps_ending(home, f"agent-{local}"))
    tell("agent", words or f"starting   cluster {local}; see bushel doctor")
    others = [name for name in home.cluster_names() if name != local]
    if others:
        tell("agents", f"started   {', '.join(others)}")


def _wait(deadline: float, look: Callable[[], T | None]) -> T | None:
    while True:
        found = look()
        if found is not None or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_SECONDS)


def _keeps_ending(home: Home, name: str) -> str | None:
    for part in home.status().get("parts", ()):
        if part["name"] == name and part["restarts"] >= _TRIES:
            return f"keeps ending   {last_line(Path(part['log']))}"
    return None


def control_status(home: Home) -> dict[str, Any] | None:
    """What the controllers say of themselves while they lead."""
    with suppress(OSError, ValueError):
        told = json.loads(home.control_file.read_text())
        running = any(part["kind"] == "control" and part["pid"] == told["pid"] for part in home.status().get("parts", ()))
        if told["leader"] and running:
            return told
    return None


def _database_words(home: Home, settings: Settings, seconds: float) -> str:
    facts = database.ask(parts.database_url(home, settings))
    where = "" if settings.embedded else f"   at {database.place(settings.database_url)}"
    return f"{facts.version}  ready   {seconds:.1f} s{where}"


def _raise_failure(home: Home, status: dict[str, Any], supervisor: subprocess.Popen[bytes] | None) -> None:
    """Raise when it is clear that waiting is in vain."""
    if status.get("error"):
        raise Unavailable(str(status["error"]), suggestion=f"look into {home.part_logs}")
    if supervisor is not None and supervisor.poll() is not None:
        raise Unavailable(f"the supervisor ended with {supervisor.returncode}", suggestion=f"look into {home.part_logs}/supervisor.log")
    for part in status.get("parts", ()):
        if part["kind"] in ("api", "postgres") and part["restarts"] >= _TRIES:
            raise Unavailable(f"{part['name']} keeps ending: {last_line(Path(part['log']))}", suggestion=f"look into {part['log']}")
