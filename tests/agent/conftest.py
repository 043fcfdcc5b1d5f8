"""A control plane small enough to read, and real agents that talk to it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bushel.agent.executors.local.cgroups import Limiter

TIMEOUT_SECONDS = 20.0


def wait_for(condition: Callable[[], Any], what: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_seconds} s for {what}")
        time.sleep(0.01)


class ControlPlane:
    """Speaks the agent protocol from memory: what is wanted, what was reported, what was printed."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.epoch = 1
        self.spec: dict[str, Any] = {}  # of every attempt
        self.lease_seconds = 30.0
        self.version = 0
        self.wanted: dict[str, tuple[int, dict[str, Any]]] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[str]] = {}
        self.nodes: list[dict[str, Any]] = []
        self.logs: dict[tuple[str, int], bytes] = {}
        self.logs_ended: set[tuple[str, int]] = set()
        self.blobs: dict[str, bytes] = {}
        self.parked = False
        self.forgets = True
        self.stale_epochs: set[int] = set()
        self.unreachable = False
        self.logs_refused = False
        self.syncs = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # What a test asks for --------------------------------------------------------------------------------------------

    def want(self, id: str, run: str | list[str], *, tasks: int = 1, secrets: dict[str, str] | None = None, **spec: Any) -> str:
        """Want an attempt that runs `run` in `tasks` ranks."""
        amounts = spec.pop("amounts", {"cpu": 1000, "memory": 512 * 1024**2})
        placement: dict[str, Any] = {"group": "main", "ranks": [0, tasks], "node": "n1", "amounts": amounts}
        if "devices" in spec:
            placement["devices"] = spec.pop("devices")
        parts = spec.pop("placement", [placement])
        _, index, number = id.split(".")
        attempt = {
            "id": id,
            "job_name": spec.pop("job_name", "probe"),
            "project": "home/main/main",
            "queue": "main",
            "attempt": int(number),
            "index": int(index),
            "array": False,
            "task_count": tasks,
            "element_count": 1,
            "spec": {
                **self.spec,
                "run": run,
                "time_limit": 3600,
                "preemption": {"grace": 5, "notice": "SIGTERM", "checkpoint": False},
                **spec,
            },
            "secrets": secrets or {},
            "placement": parts,
            "submitted_at": "2026-01-01T00:00:00Z",
            "resume_from": None,
            "stop": None,
        }
        with self.changed:
            self.version += 1
            self.wanted[id] = (self.version, attempt)
            self.changed.notify_all()
        return id

    def stop(self, id: str, reason: str = "cancelled_by_user", grace_seconds: float = 5.0) -> None:
        """Ask for its end; one that has ended stays as it is."""
        with self.changed:
            if id not in self.wanted:
                return
            self.version += 1
            self.wanted[id] = (self.version, {**self.wanted[id][1], "stop": {"reason": reason, "grace_seconds": grace_seconds}})
            self.changed.notify_all()

    def drop(self, id: str) -> None:
        """Want it no more, without a word."""
        with self.changed:
            self.version += 1
            del self.wanted[id]

    def state(self, id: str) -> str | None:
        report = self.reports.get(id)
        return report["state"] if report else None

    def wait_state(self, id: str, state: str, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        wait_for(lambda: self.state(id) == state, f"{id} to be {state}, it is {self.reports.get(id)}", timeout_seconds)
        return self.reports[id]

    def ended(self, id: str, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        """The report of rank 0 when the attempt has ended."""
        return self.wait_state(id, "ended", timeout_seconds)["tasks"][0]

    def output(self, id: str, rank: int = 0, stream: str = "stdout") -> bytes:
        """What a task printed, once all of it is here."""
        wait_for(lambda: (id, rank) in self.logs_ended, f"the whole output of {id}, rank {rank}")
        return text_of(self.logs.get((id, rank), b""), stream)

    # The server ------------------------------------------------------------------------------------------------------

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if plane.unreachable:
                    return self._hang_up()
                if self.path == "/healthz":
                    return self._answer(200, b"ok")
                digest = self.path.rpartition("/")[2]
                return self._answer(200, plane.blobs[digest]) if digest in plane.blobs else self._answer(404, b"{}")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if plane.unreachable:
                    return self._hang_up()
                if self.path == "/v1/agent/logs":
                    return self._answer(503, b'{"code": "disk_full"}') if plane.logs_refused else self._answer(200, plane.take_logs(body))
                status, answer = plane.sync(json.loads(body))
                return self._answer(status, json.dumps(answer).encode())

            def _hang_up(self) -> None:
                self.close_connection = True

            def _answer(self, status: int, body: bytes) -> None:
                with suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None: ...

        return Handler

    def sync(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.changed:
            self.syncs += 1
            if request["epoch"] is not None and request["epoch"] in self.stale_epochs:
                return 409, {"code": "stale_epoch", "detail": "passed on"}
            forget = []
            for report in request["attempts"]:
                id = report["id"]
                if report["report_version"] > self.reports.get(id, {"report_version": 0})["report_version"]:
                    self.reports[id] = report
                    self.history.setdefault(id, []).append(report["state"])
                if report["state"] == "ended" and self.forgets:
                    forget.append(id)
                    self.wanted.pop(id, None)
            self.nodes = request.get("nodes") or self.nodes
            self.parked = bool(request.get("parked")) or (self.parked and not request.get("agent"))
            known = request["known_version"]
            self.changed.notify_all()
            if known and not forget:
                self.changed.wait_for(lambda: self.version > known, request["wait_seconds"])
            return 200, {
                "epoch": self.epoch,
                "lease_seconds": self.lease_seconds,
                "version": self.version,
                "complete": known == 0,
                "attempts": [attempt for version, attempt in self.wanted.values() if version > known or known == 0],
                "forget": forget,
                "server_time": "2026-01-01T00:00:00Z",
            }

    def take_logs(self, body: bytes) -> bytes:
        header, _, content = body.partition(b"\n")
        ends = []
        for chunk in json.loads(header)["streams"]:
            data, content = content[: chunk["length"]], content[chunk["length"] :]
            key = (chunk["attempt"], chunk["rank"])
            assert not data or data.endswith(b"\n")
            have = self.logs.setdefault(key, b"")
            end: dict[str, Any] = {"attempt": key[0], "rank": key[1]}
            if chunk["offset"] > len(have):
                end["error"] = "gap"
            else:
                self.logs[key] = have = have + data[len(have) - chunk["offset"] :]
                if chunk["ended"]:
                    self.logs_ended.add(key)
            ends.append({**end, "size_bytes": len(have), "durable_bytes": len(have)})
        return json.dumps({"ends": ends}).encode()


class AgentProcess:
    """A real agent with its own state folder, which can be killed and started again."""

    def __init__(self, plane: ControlPlane, folder: Path, **config: Any) -> None:
        self.plane = plane
        self.folder = folder
        self.state = folder / "state"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "agent.token").write_text("bushel_x_y\n")
        nodes = [{"name": "n1", "capacity": {"cpu": 64000, "memory": 64 * 1024**3}}]
        settings = {"url": plane.url, "token_file": "agent.token", "cluster": "c1", "site": "s1", "state_folder": "state", "nodes": nodes}
        (folder / "agent.json").write_text(json.dumps({**settings, **config}))
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "agent.log"

    def start(self, *arguments: str, failpoint: str = "") -> AgentProcess:
        environment = {**os.environ, "BUSHEL_FAILPOINT": failpoint}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "bushel.agent", "--config", str(self.folder / "agent.json"), *arguments]
            self.process = subprocess.Popen(command, env=environment, stderr=log, stdin=subprocess.DEVNULL)
        return self

    def wait_registered(self) -> AgentProcess:
        wait_for(lambda: (self.state / "lease.json").exists(), "the agent's lease")
        return self

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a power cut of this one process."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()
            self.process = None

    def wait_exit(self, timeout_seconds: float = TIMEOUT_SECONDS) -> int:
        assert self.process is not None
        code = self.process.wait(timeout_seconds)
        self.process = None
        return code

    def record(self, id: str, rank: int = 0) -> list[dict[str, Any]]:
        """The lines of a task's record."""
        path = self.state / "tasks" / f"{id}.{rank}" / "record"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def shim(self, id: str, rank: int = 0) -> int:
        """The process that watches a task."""
        return wait_for(lambda: self.record(id, rank), f"{id} to have started")[0]["pid"]

    def end(self) -> None:
        """Leave nothing behind."""
        self.kill()
        for record in self.state.glob("tasks/*/record"):
            lines = record.read_text().splitlines()
            if len(lines) == 1:
                with suppress(OSError, ValueError):
                    os.kill(json.loads(lines[0])["pid"], signal.SIGKILL)
        with suppress(OSError):
            (self.state / "lease.json").unlink()
        for parent in Limiter.detect(str(self.state)).parents.values():
            for group in [*Path(parent).glob("*/"), Path(parent)]:
                with suppress(OSError):
                    group.rmdir()


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    control_plane = ControlPlane()
    yield control_plane
    control_plane.close()


@pytest.fixture
def new_agent(plane: ControlPlane, tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    """Makes agents of the test's control plane, not yet started."""
    agents: list[AgentProcess] = []

    def make(name: str = "agent", **config: Any) -> AgentProcess:
        agents.append(AgentProcess(plane, tmp_path / name, **config))
        return agents[-1]

    yield make
    for agent in agents:
        agent.end()


@pytest.fixture
def agent(new_agent: Callable[..., AgentProcess]) -> AgentProcess:
    """One agent, running."""
    return new_agent().start().wait_registered()


def text_of(records: bytes, stream: str) -> bytes:
    """What was printed, byte for byte, from the records of a log."""
    text = []
    for record in records.split(b"\n")[:-1]:
        _, name, flag, line = record.split(b" ", 3)
        if name.decode() == stream:
            text.append(line + (b"\n" if flag == b"F" else b""))
    return b"".join(text)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is only waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
