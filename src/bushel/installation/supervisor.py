"""Keep the parts of one installation running: `python -m bushel.installation.supervisor --home FOLDER`.

Guarantees: one supervisor a home, by a lock that ends with it; a part that ends is started again, at once after a life
of some length and ever more slowly if it keeps failing; no part outlives the supervisor, while the tasks that agents
started do; nothing blocks it for long, because it has no pipe to any part and waits for none.

Signals: SIGTERM and SIGINT stop everything in order (agents park, then controllers, API, PostgreSQL); SIGHUP reads
again which agents there should be. What runs is told in `run/status.json`, replaced at each change.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bushel.domain.errors import BushelError, Conflict
from bushel.installation import parts, postgres
from bushel.installation.home import Embedded, Home, Settings, locked, write_private
from bushel.installation.parts import Part, last_line
from bushel.installation.ports import free_port, is_free

STOP_TASKS_SECONDS = 900.0
"""Tasks have their own grace; this bounds what an agent may take for all of them."""

LOG_BYTES = 10 * 2**20
"""A part's log is set aside once when it is larger, so that it takes at most twice this."""

_STOP_ORDER = ("agent", "control", "api", "bootstrap", "postgres")
_FORCE_AFTER_SECONDS = 10.0
_QUICK_SECONDS, _SLOW_SECONDS = 0.01, 2.0


class Supervisor:
    def __init__(self, home: Home) -> None:
        self.home = home
        self.settings: Settings = home.settings()
        self.postgres = parts.postgres_part(home, self._embedded) if self.settings.embedded else None
        self.bootstrap = parts.bootstrap_part(home, self._settings)
        self.api = parts.api_part(home, self._settings)
        self.control = parts.control_part(home, self._settings)
        self.agents: dict[str, Part] = {}
        self.state = "starting"
        self.error: str | None = None
        self.database_ready = False
        self.bootstrapped = False
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._clearing_since: float | None = None
        self._told = ""
        self._signals: set[int] = set()
        self._rotated = 0.0

    def run(self) -> int:
        """Until a signal says stop."""
        self._listen()
        try:
            self.api.start()  # its imports take longest; it waits for the database by itself
            self._tell()
            if self.settings.embedded:
                postgres.initialise(self.home, self.settings.embedded)
            while not self._signals & {signal.SIGTERM, signal.SIGINT}:
                if signal.SIGHUP in self._signals:
                    self._signals.discard(signal.SIGHUP)
                    self._read_agents()
                self._step()
                self._tell()
                self._wait(self._pause_seconds())
        except (BushelError, OSError, RuntimeError) as error:
            self.error = str(error)
            print(f"stopping: {error}", file=sys.stderr, flush=True)
        self.state = "stopping"
        self._stop()
        self.state = "stopped"
        self._tell()
        return 1 if self.error else 0

    def _settings(self) -> Settings:
        return self.settings

    def _embedded(self) -> Embedded:
        if self.settings.embedded is None:
            raise LookupError("this installation uses a PostgreSQL of somebody else's")
        return self.settings.embedded

    def _parts(self) -> Iterable[Part]:
        first = [self.postgres] if self.postgres else []
        return [*first, self.bootstrap, self.api, self.control, *self.agents.values()]

    # Starting and restarting ---------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Start what should run and does not."""
        for part in self._parts():
            if part.reap():
                self._ended(part)
        self._step_database()
        if not self.bootstrapped:
            self._start_due(self.api)
            if self.database_ready:
                self._start_due(self.bootstrap)
            return
        for part in (self.api, self.control, *self.agents.values()):
            self._start_due(part)
        self.state = "ready"
        if time.monotonic() - self._rotated > _SLOW_SECONDS:
            self._rotated = time.monotonic()
            rotate(self.home.part_logs)

    def _step_database(self) -> None:
        if self.postgres is None:
            self.database_ready = True
        elif self.postgres.process is None:
            self.database_ready = False
            self._start_postgres(self.postgres, self._embedded())
        elif not self.database_ready:
            self.database_ready = postgres.is_ready(self._embedded())

    def _start_postgres(self, part: Part, embedded: Embedded) -> None:
        now = time.monotonic()
        if now < part.due:
            return
        self._clearing_since = self._clearing_since or now
        if not postgres.end_leftovers(embedded, force=now - self._clearing_since > _FORCE_AFTER_SECONDS):
            part.due = now + 0.1
            return
        self._clearing_since = None
        if not is_free(postgres.HOST, embedded.port):
            self._move_postgres(embedded)
        part.start()

    def _move_postgres(self, embedded: Embedded) -> None:
        """Somebody took the port meanwhile: take another and tell those who use it, by starting them again."""
        self.settings = replace(self.settings, embedded=replace(embedded, port=free_port(postgres.HOST)))
        self.home.save(self.settings)
        for part in (self.api, self.control, self.bootstrap):
            part.tell(signal.SIGTERM)

    def _start_due(self, part: Part) -> None:
        if part.process is None and time.monotonic() >= part.due:
            part.start()

    def _ended(self, part: Part) -> None:
        print(f"{part.name} ended with {part.last_exit}; next start in {part.pause_seconds:.2g} s", file=sys.stderr, flush=True)
        if part is self.bootstrap:
            self.bootstrapped = part.last_exit == 0
            self.error = None if self.bootstrapped else last_line(part.log)
            if self.bootstrapped:
                self._read_agents()

    def _read_agents(self) -> None:
        wanted = set(self.home.cluster_names())
        for name in self.agents.keys() - wanted:
            self.agents[name].stop_signal = signal.SIGTERM  # its cluster is gone: nobody would hear its farewell
            self._stop_parts([self.agents[name]])
            del self.agents[name]
        for name in wanted - self.agents.keys():
            self.agents[name] = parts.agent_part(self.home, name)

    # Stopping ------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        for kind in _STOP_ORDER:
            self._stop_parts([part for part in self._parts() if part.kind == kind])

    def _stop_parts(self, stopping: list[Part]) -> None:
        """Ask, wait as long as each may take, then kill."""
        stop_tasks = self.home.stop_tasks_file.exists()
        for part in stopping:
            part.tell(signal.SIGUSR2 if stop_tasks and part.kind == "agent" else part.stop_signal)
        patience = STOP_TASKS_SECONDS if stop_tasks else 0.0
        deadline = time.monotonic() + max((max(patience, part.stop_seconds) for part in stopping), default=0)
        while any(part.process for part in stopping):
            for part in stopping:
                part.reap()
            if time.monotonic() > deadline:
                for part in stopping:
                    part.tell(signal.SIGKILL)
            self._tell()
            self._wait(0.05)

    # Waiting and telling -------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)
        self._reading, self._writing = reading, writing
        self._selector = selectors.DefaultSelector()
        self._selector.register(reading, selectors.EVENT_READ)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._signals.add(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)  # ends the wait

    def _wait(self, seconds: float) -> None:
        if self._selector.select(seconds):
            with suppress(BlockingIOError):
                while self._reading.recv(4096):
                    pass

    def _pause_seconds(self) -> float:
        """Until something is due; short while PostgreSQL is on its way, because it tells nobody that it is ready."""
        if self.state == "starting" or not self.database_ready:
            return _QUICK_SECONDS
        now = time.monotonic()
        due = [part.due - now for part in self._parts() if part.process is None and part is not self.bootstrap]
        return max(_QUICK_SECONDS, min([_SLOW_SECONDS, *due]))

    def _tell(self) -> None:
        told = {
            "pid": os.getpid(),
            "state": self.state,
            "error": self.error,
            "started_at": self._started_at,
            "database_ready": self.database_ready,
            "bootstrapped": self.bootstrapped,
            "parts": [part.status() for part in self._parts()],
        }
        changes = json.dumps({**told, "parts": [(part["name"], part["pid"], part["restarts"]) for part in told["parts"]]})
        if changes != self._told:
            self._told = changes
            write_private(self.home.status_file, json.dumps(told, indent=1) + "\n", durable=False)


def rotate(folder: Path) -> None:
    """Set aside the logs that have grown. Their writers append, so they go on at the new beginning."""
    for log in folder.glob("*.log"):
        with suppress(OSError):
            if log.stat().st_size > LOG_BYTES:
                aside = log.with_suffix(".log.1")
                shutil.copyfile(log, aside)
                aside.chmod(0o600)
                os.truncate(log, 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bushel.installation.supervisor", description="Keep an installation running.")
    parser.add_argument("--home", type=Path, required=True)
    home = Home(parser.parse_args().home.absolute())
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(home.supervisor_lock, wait_seconds=1))
        except Conflict:
            print(f"a supervisor runs already for {home.path}", file=sys.stderr)
            return 0
        return Supervisor(home).run()


if __name__ == "__main__":
    raise SystemExit(main())
