"""Look at each part of an installation and say how to mend what is wrong: what `bushel doctor` does.

Guarantees: looking changes nothing; a part that cannot be looked at because of another one that is down is said to depend on it,
not reported as a second fault; each finding that is not fine names the next step.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from bushel.domain.errors import BushelError
from bushel.installation import clusters, database, parts, postgres
from bushel.installation.control_plane import ControlPlane, answers
from bushel.installation.home import Home, Settings
from bushel.installation.ports import holder

DISK_WARNING_BYTES = 5 * 2**30
DISK_LEAST_BYTES = 2**30
SKEW_WARNING_SECONDS = 1.0
PARTITIONS_LEAST = timedelta(days=14)

State = Literal["fine", "warning", "wrong", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend` is the next step, for what is not fine."""

    part: str
    state: State
    message: str
    mend: str | None = None


def examine(home: Home) -> Iterator[Finding]:
    """Findings, part by part, as they are made."""
    if not home.exists():
        yield Finding("installation", "wrong", f"there is none in {home.path}", "bushel up")
        return
    settings = home.settings()
    yield from _home(home, settings)
    yield from _supervisor(home)
    facts = None
    try:
        facts = database.ask(parts.database_url(home, settings))
    except BushelError as error:
        yield Finding("PostgreSQL", "wrong", error.message, _mend_postgres(home, settings))
    if facts:
        yield from _database(settings, facts)
    yield from _api(home, settings)
    yield from _controllers(home, facts)
    yield from _agents(home, settings)
    yield from _limits()


def _home(home: Home, settings: Settings) -> Iterator[Finding]:
    yield Finding("home", "fine", str(home.path))
    for path in _private(home):
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            yield Finding(
                "home", "wrong", f"{path} can be read by others ({mode:04o})", f"chmod {'700' if path.is_dir() else '600'} {path}"
            )
    if not home.admin_token_file.exists():
        yield Finding(
            "home",
            "warning",
            f"there is no admin token in {home.admin_token_file}",
            "make one with bushel token add on a machine that has one",
        )
    places = {home.path: "home", Path(settings.embedded.folder) if settings.embedded else home.path: "PostgreSQL"}
    for place, name in places.items():
        free = shutil.disk_usage(place).free
        text = f"{free / 2**30:.1f} GiB free in {place}"
        if free < DISK_LEAST_BYTES:
            yield Finding("disk", "wrong", text, "free some space: PostgreSQL stops when the disk is full")
        elif free < DISK_WARNING_BYTES:
            yield Finding("disk", "warning", text, "free some space soon")
        elif name == "home":
            yield Finding("disk", "fine", text)
    if settings.embedded and home.postgres.is_symlink():
        yield Finding("home", "fine", f"PostgreSQL's account cannot reach {home.path}; its data lies in {settings.embedded.folder}")


def _private(home: Home) -> list[Path]:
    files = [home.admin_token_file, home.password_file, home.settings_file, home.state, home.agents, home.run, home.part_logs]
    files += [home.state / "secret.key", *home.agents.glob("*/agent.token")]
    return [path for path in files if path.exists()]


def _supervisor(home: Home) -> Iterator[Finding]:
    status = home.status()
    if not home.supervised():
        yield Finding("supervisor", "wrong", "not running", "bushel up")
        return
    state = "fine" if status.get("state") == "ready" else "warning"
    mend = None if state == "fine" else f"wait, or look into {home.part_logs}"
    yield Finding(
        "supervisor",
        state,
        f"pid {status.get('pid')}, {status.get('state')}" + (f": {status['error']}" if status.get("error") else ""),
        mend,
    )
    for part in status.get("parts", ()):
        yield from _part(part)


def _part(part: dict[str, Any]) -> Iterator[Finding]:
    if part["kind"] == "bootstrap":
        return
    if part["pid"] is None:
        message = f"not running, ended with {part['last_exit']}: {parts.last_line(Path(part['log']))}"
        yield Finding(part["name"], "wrong", message, f"look into {part['log']}")
        return
    lived = datetime.now(UTC) - datetime.fromisoformat(part["since"])
    if part["restarts"] and lived < timedelta(minutes=5):
        message = f"pid {part['pid']}, started again {int(lived.total_seconds())} s ago, for the {_ordinal(part['restarts'])} time"
        yield Finding(part["name"], "warning", message, f"look into {part['log']}")
    else:
        yield Finding(part["name"], "fine", f"pid {part['pid']}")


def _ordinal(number: int) -> str:
    return f"{number}{'th' if number % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _mend_postgres(home: Home, settings: Settings) -> str:
    if settings.embedded is None:
        return f"see that {database.place(settings.database_url)} runs and lets this machine in"
    if not home.supervised():
        return "bushel up"
    try:
        postgres.check_version(Path(settings.embedded.folder) / "data")
    except BushelError as error:
        return error.suggestion or error.message
    except OSError as error:
        return str(error)
    return f"look into {home.part_logs / 'postgres.log'}"


def _database(settings: Settings, facts: database.Facts) -> Iterator[Finding]:
    where = "embedded" if settings.embedded else database.place(settings.database_url)
    yield Finding("PostgreSQL", "fine", f"{facts.version}, {where}, {facts.size_bytes / 2**20:.0f} MiB")
    if facts.version_number < database.OLDEST_VERSION:
        yield Finding("PostgreSQL", "wrong", f"{facts.version} is too old", "use PostgreSQL 15 or newer")
    if facts.recovering:
        yield Finding("PostgreSQL", "wrong", "it is a replica and takes no writes", "promote it, or name the primary by --database-url")
    if not facts.durable:
        yield Finding("PostgreSQL", "wrong", "fsync or synchronous_commit is off: an answer may be lost in a power cut", "turn both on")
    skew = abs((facts.now - datetime.now(UTC)).total_seconds())
    if skew > SKEW_WARNING_SECONDS:
        yield Finding("clock", "warning", f"PostgreSQL's clock differs from this machine's by {skew:.1f} s", "run NTP on both")
    yield from _partitions(facts)


def _partitions(facts: database.Facts) -> Iterator[Finding]:
    if facts.partitions_until is None:
        yield Finding("events", "wrong", "there are no partitions to write events into", "bushel down, then bushel up")
        return
    last = datetime.strptime(facts.partitions_until.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=7)
    left = last - facts.now
    state = "fine" if left > PARTITIONS_LEAST else "warning" if left > timedelta(0) else "wrong"
    mend = None if state == "fine" else "the controllers make new ones each day: see whether they run"
    yield Finding("events", state, f"partitions until {last:%Y-%m-%d}", mend)


def _api(home: Home, settings: Settings) -> Iterator[Finding]:
    if answers(settings):
        yield Finding("API", "fine", settings.url)
        return
    by = holder(settings.port)
    api = next((part["pid"] for part in home.status().get("parts", ()) if part["kind"] == "api"), None)
    if by and by.pid != api:
        yield Finding("API", "wrong", f"port {settings.port} is held by {by}", "stop that, or bushel down and bushel up --port 0")
    else:
        yield Finding(
            "API",
            "wrong",
            f"{settings.url} does not answer",
            f"look into {home.part_logs / 'api.log'}" if api and home.supervised() else "bushel up",
        )


def _controllers(home: Home, facts: database.Facts | None) -> Iterator[Finding]:
    if facts is None:
        yield Finding("controllers", "unknown", "not seen without PostgreSQL")
    elif facts.leader is None or not facts.leader["fresh"]:
        yield Finding("controllers", "wrong", "nobody leads: nothing is started or ended", f"look into {home.part_logs / 'control.log'}")
    else:
        yield Finding("controllers", "fine", f"leader {facts.leader['holder']}, epoch {facts.leader['epoch']}")


def _agents(home: Home, settings: Settings) -> Iterator[Finding]:
    names = home.cluster_names()
    if not answers(settings):
        yield Finding("agents", "unknown", "not seen without the API")
        return
    try:
        known = {cluster["name"]: cluster for cluster in ControlPlane(home, settings).clusters()}
    except BushelError as error:
        yield Finding("agents", "unknown", error.message)
        return
    for name in names:
        log = home.part_logs / f"agent-{name}.log"
        if name not in known:
            yield Finding(f"agent {name}", "wrong", "the control plane does not know this cluster", f"bushel cluster remove {name}")
        elif not clusters.holds_lease(known[name]):
            yield Finding(f"agent {name}", "wrong", "it holds no lease: nothing starts there", f"look into {log}")
        else:
            yield Finding(f"agent {name}", "fine", f"site {known[name]['site']}")
    for name, cluster in known.items():
        ahead = clusters.clock_ahead_seconds(cluster)
        if ahead is not None and abs(ahead) > SKEW_WARNING_SECONDS:
            yield Finding(
                f"agent {name}",
                "warning",
                f"its clock is off by {ahead:+.1f} s",
                "run NTP there; nothing is decided by it, times only look wrong",
            )
        if name not in names and not clusters.holds_lease(cluster):
            yield Finding(f"agent {name}", "warning", "an agent elsewhere holds no lease", "look at the machine that it runs on")


def _limits() -> Iterator[Finding]:
    """How far this machine's tasks can be held to their limits."""
    version_two = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    root = Path("/sys/fs/cgroup") if version_two else Path("/sys/fs/cgroup/memory")
    if root.exists() and os.access(root, os.W_OK):
        yield Finding("limits", "fine", f"cgroup v{2 if version_two else 1} holds tasks to their CPU and memory")
    else:
        yield Finding(
            "limits",
            "warning",
            "cgroups are not writable: tasks are held to their memory by rlimits, one process at a time",
            "run as root, or delegate a cgroup",
        )


def summary(findings: list[Finding]) -> int:
    """The exit code: 1 when something is wrong."""
    return 1 if any(finding.state == "wrong" for finding in findings) else 0
