"""A whole platform on this machine whose every part a test can kill: PostgreSQL, the API, the controllers, agents.

Parts are the real processes, started by the command lines that the installation uses. A part that died is started
again by `Platform.mend`, not by a supervisor, so that a test decides when.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from bushel.installation import postgres
from bushel.installation.home import Embedded, Home
from bushel.installation.processes import account

T = TypeVar("T")

LEASE_SECONDS = 6.0
ENDED = ("succeeded", "failed", "cancelled")


def wait_for(what: str, check: Callable[[], T], timeout_seconds: float = 60) -> T:
    """Ask until the answer is true.

    Raises:
        TimeoutError: it never was; the message names what was awaited and the last answer.
    """
    deadline = time.monotonic() + timeout_seconds
    answer: Any = None
    while time.monotonic() < deadline:
        answer = check()
        if answer:
            return answer
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {timeout_seconds:g} s; last seen {answer!r}")


class Refused(Exception):
    """The API answered with a problem."""

    def __init__(self, status: int, problem: Any) -> None:
        super().__init__(f"{status}: {problem}")
        self.status = status
        self.problem = problem


@dataclass
class Part:
    """One process and how to start it."""

    name: str
    command: Callable[[], Sequence[str]]
    uid: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    deaths: list[int] = field(default_factory=list)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, folder: Path, environment: Mapping[str, str]) -> None:
        with open(folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                list(self.command()), env=dict(environment), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **account(self.uid),
            )  # type: ignore[assignment]  # fmt: skip

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)

    def ended(self, timeout_seconds: float = 20) -> int:
        assert self.process is not None
        return self.process.wait(timeout_seconds)


class Platform:
    """One installation without its supervisor. `clusters` maps a cluster's name to its nodes, as an agent's file has them."""

    def __init__(self, folder: Path, clusters: Mapping[str, Sequence[Mapping[str, Any]]], *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.home.make()
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = ""
        self.environment = {
            **os.environ,
            "BUSHEL_LEASE_SECONDS": str(lease_seconds),
            "PYTHONUNBUFFERED": "1",
            "BUSHEL_HOME": str(self.home.path),
        }
        self.environment.pop("BUSHEL_FAILPOINT", None)
        self.embedded: Embedded = postgres.prepare(self.home, uuid.uuid4().hex, None)
        postgres.initialise(self.home, self.embedded)
        self.database_url = postgres.url(self.home, self.embedded)
        where = ["--database-url", self.database_url, "--state-folder", str(self.home.state)]
        self.parts: dict[str, Part] = {
            "postgres": Part("postgres", lambda: postgres.command(self.embedded), uid=self.embedded.uid, stop_signal=signal.SIGINT),
            "api": Part("api", lambda: _python("bushel.api", *where, "--host", "127.0.0.1", "--port", str(self.port))),
            "control": Part("control", lambda: _python("bushel.control", *where)),
        }
        self.clusters = dict(clusters)

    # Parts -----------------------------------------------------------------------------------------------------------

    def reached(self) -> set[str]:
        """The armed failure points at which a process died."""
        return {mark.name for mark in self.marks.iterdir()}

    def up(self, *, armed: Sequence[str] = ()) -> None:
        """Start everything. The first process that gets to one of the failure points `armed` dies there, once for each."""
        self.start("postgres")
        wait_for("PostgreSQL", self._database_answers, 30)
        token_file = self.home.admin_token_file
        subprocess.run(
            _python("bushel.control.bootstrap", "--database-url", self.database_url, "--token-file", str(token_file)),
            check=True, env=self.environment, cwd="/", capture_output=True, timeout=60,
        )  # fmt: skip
        self.token = token_file.read_text().strip()
        self.start("api")
        wait_for("the API", self.api_answers, 30)
        for cluster, nodes in self.clusters.items():
            self._add_cluster(cluster, nodes)
        self.query("select make_event_partitions('2020-01-06', 1)")  # too old to keep
        if armed:
            (self.home.state / "secret.key").unlink(missing_ok=True)  # nothing is sealed with it yet
            self.environment |= {"BUSHEL_FAILPOINT": ",".join(armed), "BUSHEL_FAILPOINT_MARKS": str(self.marks)}
            self.parts["api"].kill(signal.SIGTERM)
            self.parts["api"].ended()
        for name, part in self.parts.items():
            if not part.alive():
                self.start(name)

    def start(self, name: str) -> None:
        part = self.parts[name]
        if name == "postgres":
            wait_for("an empty data folder", lambda: postgres.end_leftovers(self.embedded, force=True), 20)
        part.start(self.folder, self.environment)

    def mend(self) -> list[str]:
        """Start the parts that have died. Returns their names."""
        died = [name for name, part in self.parts.items() if part.process is not None and not part.alive()]
        for name in died:
            self.parts[name].deaths.append(self.parts[name].process.returncode)  # type: ignore[union-attr]
            self.start(name)
        return died

    def kill_agent_side(self, cluster: str) -> None:
        """SIGKILL an agent, its launchers and shims, and the tasks, all of them stopped first so that none notices."""
        others = [part.process.pid for name, part in self.parts.items() if name != f"agent-{cluster}" and part.process is not None]
        victims = [pid for pid in self._processes() if pid not in others and _parent(pid) not in others]
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for pid in victims:
                with suppress(OSError):
                    os.kill(pid, how)

    def down(self) -> None:
        """Stop everything, the tasks as well."""
        for name in sorted(self.parts, key=lambda name: name == "postgres"):
            part = self.parts[name]
            part.kill(signal.SIGCONT)
            part.kill(part.stop_signal)
        for part in self.parts.values():
            if part.process is not None:
                try:
                    part.process.wait(15)
                except subprocess.TimeoutExpired:
                    part.process.kill()
                    part.process.wait(5)
        self._kill_tasks()

    def _kill_tasks(self) -> None:
        """Nothing may outlive a test."""
        for pid in self._processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self) -> list[int]:
        """All processes that have our folder in their environment or command line."""
        marker = str(self.folder).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if marker in (entry / "environ").read_bytes() or marker in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found

    def _add_cluster(self, name: str, nodes: Sequence[Mapping[str, Any]]) -> None:
        with suppress(Refused):
            self.ask("POST", "/v1/sites", {"name": f"site-{name}"})
        made = self.ask("POST", "/v1/clusters", {"name": name, "site": f"site-{name}"})
        folder = self.home.agents / name
        folder.mkdir(parents=True)
        (folder / "agent.token").write_text(made["agent_token"])
        (folder / "agent.token").chmod(0o600)
        config = {
            "url": self.url,
            "token_file": "agent.token",
            "cluster": name,
            "site": f"site-{name}",
            "state_folder": "state",
            "nodes": list(nodes),
        }
        (folder / "agent.json").write_text(json.dumps(config))
        part = f"agent-{name}"
        self.parts[part] = Part(part, lambda: _python("bushel.agent", "--config", str(folder / "agent.json")))

    # Asking ----------------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None, patience_seconds: float = 30) -> Any:
        """One request. While nobody answers, or with 503, it is sent again under one idempotency key, and what died is started again.

        Raises:
            Refused: any other problem.
            TimeoutError: nobody answered within the patience.
        """
        deadline = time.monotonic() + patience_seconds
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        if method == "POST":
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        data = None if body is None else json.dumps(body).encode()
        while True:
            request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                problem = error.read().decode(errors="replace")
                if error.code != 503:
                    raise Refused(error.code, problem) from None
                last: object = problem
            except (OSError, urllib.error.URLError, ValueError) as error:
                last = error
            except Exception as error:  # http.client raises several types when the other side dies in the middle
                if type(error).__module__ != "http.client":
                    raise
                last = error
            if time.monotonic() > deadline:
                raise TimeoutError(f"{method} {path}: {last}")
            self.mend()
            time.sleep(0.1)

    def put(self, path: str, body: bytes, content_type: str) -> None:
        """Upload; sent again while nobody answers."""

        def sent() -> bool:
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
            try:
                with urllib.request.urlopen(urllib.request.Request(self.url + path, data=body, method="PUT", headers=headers), timeout=20):
                    return True
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise Refused(error.code, error.read().decode(errors="replace")) from None
            except OSError:
                pass
            self.mend()
            return False

        wait_for(f"PUT {path}", sent, 30)

    def api_answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/healthz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _database_answers(self) -> bool:
        try:
            with psycopg.connect(self.database_url, connect_timeout=2):
                return True
        except psycopg.Error:
            return False

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Straight from the database, for invariants that no API shows."""
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(sql, parameters or None).fetchall()  # type: ignore[arg-type]

    def submit(self, *documents: Mapping[str, Any], key: str | None = None) -> list[str]:
        """Job ids. A lost answer is asked for again."""
        answer = self.ask("POST", "/v1/jobs", {"jobs": list(documents)}, key=key)
        return [job["metadata"]["id"] for job in answer["items"]]

    def job(self, job: str) -> Any:
        return self.ask("GET", f"/v1/jobs/{job}")

    def wait(self, jobs: Sequence[str], timeout_seconds: float = 120) -> dict[str, str]:
        """Job id → the terminal state it reached, mending whatever dies on the way."""

        def states() -> dict[str, str]:
            self.mend()
            return {job: last[job] if last.get(job) in ENDED else self.job(job)["status"]["state"] for job in jobs}

        last: dict[str, str] = {}

        def all_ended() -> bool:
            nonlocal last
            last = states()
            return all(state in ENDED for state in last.values())

        try:
            wait_for("jobs to end", all_ended, timeout_seconds)
        except TimeoutError as error:
            open_jobs = [self.job(job)["status"] for job, state in last.items() if state not in ENDED]
            raise TimeoutError(f"{error}; open: {json.dumps(open_jobs[:3])}; logs in {self.folder}") from None
        return last


@contextmanager
def running_platform(clusters: Mapping[str, Sequence[Mapping[str, Any]]], **options: Any) -> Iterator[Platform]:
    """A platform in a folder of its own; the folder is kept when the block raises."""
    folder = Path(tempfile.mkdtemp(prefix="bushel-fire-", dir="/tmp"))
    folder.chmod(0o711)
    platform = Platform(folder, clusters, **options)
    try:
        yield platform
    except BaseException:
        platform.down()
        print(f"the parts' logs are in {folder}", file=sys.stderr)
        raise
    platform.down()
    for place in (Path(platform.embedded.folder), folder):
        shutil.rmtree(place, ignore_errors=True)


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def node(name: str, cpu: int = 8, memory_gib: int = 16) -> dict[str, Any]:
    return {"name": name, "capacity": {"cpu": cpu * 1000, "memory": memory_gib << 30, "disk": 100 << 30}}


def _python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-P", "-m", module, *words]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
