"""An installation of its own for each benchmark: `bushel up` in a temporary BUSHEL_HOME, `bushel down` afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bushel.client.transport import Transport

BUSHEL = str(Path(sys.executable).with_name("bushel"))
ENDED = ("succeeded", "failed", "cancelled")


class Installation:
    """A running platform whose one cluster, `bench`, has `slots` places for tasks of one tenth of a CPU."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "BUSHEL_HOME": str(home)}
        for name in ("BUSHEL_URL", "BUSHEL_TOKEN", "BUSHEL_CONTEXT"):
            self.environment.pop(name, None)
        self.url = ""
        self.token = ""

    def run(self, *arguments: str, timeout_seconds: float = 120) -> str:
        done = subprocess.run(
            [BUSHEL, *arguments], env=self.environment, check=False, capture_output=True, text=True, timeout=timeout_seconds, cwd=self.home
        )
        if done.returncode:
            raise RuntimeError(f"bushel {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def database_url(self) -> str:
        from bushel.installation.home import Home
        from bushel.installation.parts import database_url

        home = Home(self.home)
        return database_url(home, home.settings())

    def transport(self) -> Transport:
        return Transport(self.url, token=self.token)

    def memory_bytes(self, *kinds: str) -> int:
        """Proportional set size of the parts of these kinds and their children."""
        status = json.loads((self.home / "run" / "status.json").read_text())
        return sum(_pss_bytes(part["pid"]) for part in status["parts"] if part["kind"] in kinds and part["pid"])


def ask(transport: Transport, method: str, path: str, body: Any = None) -> Any:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if method == "POST":
        headers["Idempotency-Key"] = uuid.uuid4().hex
    status, _, text = transport.send(method, path, None if body is None else json.dumps(body).encode(), headers, 60)
    if status >= 400:
        raise RuntimeError(f"{method} {path}: {status} {text.decode(errors='replace')[:500]}")
    return json.loads(text) if text else None


def wait_until_ended(transport: Transport, path: str, count: int, timeout_seconds: float = 300) -> None:
    """Until the list at `path`, which filters jobs that have not ended, is empty. `count` is for the message."""
    deadline = time.monotonic() + timeout_seconds
    while ask(transport, "GET", path)["items"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count} jobs had not all ended after {timeout_seconds:g} s")
        time.sleep(0.05)


@contextmanager
def new_home() -> Iterator[Installation]:
    """An installation that was never started. Whoever starts it stops it."""
    home = Path(tempfile.mkdtemp(prefix="bench-bushel-", dir="/var/tmp")) / "home"
    home.parent.chmod(0o755)
    home.mkdir()
    home.chmod(0o711)
    try:
        yield Installation(home)
    finally:
        shutil.rmtree(home.parent, ignore_errors=True)


@contextmanager
def running_installation(*, slots: int = 16, start: Sequence[str] = ()) -> Iterator[Installation]:
    """Raises RuntimeError with what the command said when it does not start."""
    with new_home() as installation:
        installation.run("up", "--port", "0", *start)
        try:
            address = json.loads((installation.home / "api.json").read_text())
            installation.url, installation.token = address["url"], (installation.home / "admin.token").read_text().strip()
            assert urlsplit(installation.url).hostname == "127.0.0.1"
            installation.run("cluster", "add", "bench", "--site", "bench", "--nodes", "1", "--cpu", str(slots), "--memory", "64GiB")
            yield installation
        finally:
            installation.run("down", "--stop-tasks")


def _pss_bytes(pid: int) -> int:
    total = 0
    pending = [pid]
    while pending:
        one = pending.pop()
        try:
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
            pending += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
    return total
