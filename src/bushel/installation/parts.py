"""The parts of an installation and how each is started: one process for PostgreSQL, the API, the controllers, each agent.

Guarantees: no command line holds a secret, because every user of a machine can read those.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bushel.installation import postgres
from bushel.installation.home import Embedded, Home, Settings
from bushel.installation.processes import start

_HEALTHY_AFTER_SECONDS = 1.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 5.0


@dataclass(slots=True)
class Part:
    """One process that should run. `command` is asked anew for each start, so that it follows the settings."""

    name: str
    kind: str
    command: Callable[[], list[str]]
    environment: dict[str, str]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    stop_seconds: float = 15.0
    uid: int | None = None
    process: subprocess.Popen[bytes] | None = None
    since: float = 0.0
    starts: int = 0
    pause_seconds: float = 0.0
    due: float = 0.0
    last_exit: int | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def start(self) -> None:
        self.process = start(self.command(), log=self.log, environment=self.environment, death_signal=self.death_signal, uid=self.uid)
        self.since = time.monotonic()
        self.starts += 1

    def reap(self) -> bool:
        """Whether the process has just ended. Sets when it is due again: at once after a life of some length, else ever later."""
        if self.process is None or self.process.poll() is None:
            return False
        self.last_exit = self.process.returncode
        self.process = None
        lived_seconds = time.monotonic() - self.since
        healthy = lived_seconds >= _HEALTHY_AFTER_SECONDS
        self.pause_seconds = (
            _FIRST_PAUSE_SECONDS if healthy else min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, self.pause_seconds * 2))
        )
        self.since = time.monotonic()
        self.due = self.since + self.pause_seconds
        return True

    def tell(self, signal_number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(signal_number)

    def status(self) -> dict[str, Any]:
        """What people and `bushel doctor` see."""
        at = datetime.now(UTC).timestamp() - (time.monotonic() - self.since) if self.since else None
        return {
            "name": self.name,
            "kind": self.kind,
            "pid": self.pid,
            "state": "running" if self.process else "ended" if self.starts else "waiting",
            "since": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") if at else None,
            "restarts": max(0, self.starts - 1),
            "last_exit": self.last_exit,
            "log": str(self.log),
        }


def database_url(home: Home, settings: Settings) -> str:
    return postgres.url(home, settings.embedded) if settings.embedded else settings.database_url


def postgres_part(home: Home, embedded: Callable[[], Embedded]) -> Part:
    return Part(
        "postgres",
        "postgres",
        lambda: postgres.command(embedded()),
        postgres.environment(),
        home.part_logs / "postgres.log",
        stop_signal=signal.SIGINT,  # "fast": ends connections, writes what must be written
        death_signal=signal.SIGINT,
        stop_seconds=60.0,
        uid=embedded().uid,
    )


def bootstrap_part(home: Home, settings: Callable[[], Settings]) -> Part:
    def command() -> list[str]:
        url = database_url(home, settings())
        return _python("bushel.control.bootstrap", "--database-url", url, "--token-file", str(home.admin_token_file))

    return Part("bootstrap", "bootstrap", command, _environment(), home.part_logs / "bootstrap.log")


def api_part(home: Home, settings: Callable[[], Settings]) -> Part:
    def command() -> list[str]:
        now = settings()
        words = ["--database-url", database_url(home, now), "--state-folder", str(home.state), "--host", now.host, "--port", str(now.port)]
        if now.tls_certificate and now.tls_key:
            words += ["--tls-certificate", now.tls_certificate, "--tls-key", now.tls_key]
        return _python("bushel.api", *words, *_lease_words())

    return Part("api", "api", command, _environment(), home.part_logs / "api.log")


def control_part(home: Home, settings: Callable[[], Settings]) -> Part:
    def command() -> list[str]:
        return _python(
            "bushel.control",
            "--database-url",
            database_url(home, settings()),
            "--state-folder",
            str(home.state),
            "--ready-file",
            str(home.control_file),
            *_lease_words(),
        )

    return Part("control", "control", command, _environment(), home.part_logs / "control.log")


def agent_part(home: Home, cluster: str) -> Part:
    config = home.agents / cluster / "agent.json"
    return Part(
        f"agent-{cluster}",
        "agent",
        lambda: _python("bushel.agent", "--config", str(config)),
        _environment(),
        home.part_logs / f"agent-{cluster}.log",
        stop_signal=signal.SIGUSR1,  # park: tasks go on, and nothing starts them elsewhere
    )


def _python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-P", "-m", module, *words]


def _lease_words() -> list[str]:
    """How long agents hold a lease, where that is not left as it is."""
    lease_seconds = os.environ.get("BUSHEL_LEASE_SECONDS")
    return ["--lease-seconds", lease_seconds] if lease_seconds else []


def _environment() -> dict[str, str]:
    """Ours, without what points a client somewhere: each part is told what it needs."""
    skipped = ("BUSHEL_URL", "BUSHEL_TOKEN", "BUSHEL_CONTEXT", "BUSHEL_PROJECT", "PYTHONSTARTUP")
    return {**{name: value for name, value in os.environ.items() if name not in skipped}, "PYTHONUNBUFFERED": "1"}


def last_line(log: Path) -> str:
    """The end of what a part said."""
    with suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines()[-20:] if line.strip()]
        if lines:
            return lines[-1]
    return f"see {log}"
