"""How fast one machine starts and ends small tasks, without a control plane: launcher, shims, control groups, results on disk.

The peer is the same program run by Python's `subprocess`, one after another in as many threads, which keeps nothing, limits nothing and
survives nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.report import Report, parse, percentile
from bushel.agent import clock, lease
from bushel.agent.executors.local.executor import LocalExecutor
from bushel.agent.state import StateFolder

COMMAND = ["/bin/sh", "-c", "true"]
SLOTS = 4
TIMEOUT_SECONDS = 60.0


class Engine:
    """A bare executor that waits for its tasks."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="bushel-engine-")
        self.state = StateFolder.open(self.folder)
        lease.write_lease(
            self.folder,
            epoch=1,
            expires_boottime=clock.boot_seconds() + 3600,
            lease_seconds=3600,
            parked=False,
            boot=self.state.boot,
        )
        self._listeners: dict[str, Callable[[str, Any], None]] = {}
        self.executor = LocalExecutor(self.state, self._take_event)
        self.executor.open()
        self.executor.listen()

    def run(self, number: int, on_event: Callable[[str, Any], None]) -> None:
        """Start task `number`; `on_event` hears of it."""
        attempt = f"bench.{number}.1"
        key = f"{attempt}.0"
        self._listeners[key] = on_event
        self.executor.start(
            {
                "key": key,
                "folder": self.state.task(key),
                "mark": key,
                "epoch": 1,
                "boot_id": self.state.boot,
                "state_folder": self.folder,
                "facts": {"attempt": attempt, "rank": 0, "task_count": 1},
                "setup": None,
                "run": COMMAND,
                "by_shell": True,
                "env": {"PATH": "/usr/bin:/bin"},
                "secrets": [],
                "folders": [],
                "workdir": None,
                "limits": {"cpu_milli": 1000, "memory_bytes": 1 << 30, "disk_bytes": 0},
                "time_limit_seconds": 3600.0,
                "grace_seconds": 5.0,
                "notice": 15,
                "log_spool_bytes": 1 << 26,
            }
        )

    def close(self) -> None:
        self.executor.close()
        self.state.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take_event(self, key: str, event: str, value: Any) -> None:
        self._listeners[key](event, value)
        if event == "ended":
            del self._listeners[key]
            self.executor.remove([key])


def tasks_per_second(engine: Engine, count: int, first: int) -> float:
    slots = threading.Semaphore(SLOTS)
    ended = threading.Semaphore(0)

    def on_event(event: str, value: Any) -> None:
        if event == "ended":
            if value["exit_code"] != 0:
                raise RuntimeError(f"a task ended with {value}")
            slots.release()
            ended.release()

    began = time.monotonic()
    for number in range(first, first + count):
        slots.acquire()
        engine.run(number, on_event)
    for _ in range(count):
        if not ended.acquire(timeout=TIMEOUT_SECONDS):
            raise TimeoutError(f"a task had not ended after {TIMEOUT_SECONDS:g} s")
    return count / (time.monotonic() - began)


def start_seconds(engine: Engine, count: int, first: int) -> list[float]:
    """From the request to the news that the program runs, one task at a time."""
    seconds = []
    for number in range(first, first + count):
        began = time.monotonic()
        running, ended = threading.Event(), threading.Event()

        def on_event(event: str, _value: Any, running: threading.Event = running, ended: threading.Event = ended) -> None:
            if event == "running":
                running.set()
            elif event == "ended":
                ended.set()

        engine.run(number, on_event)
        if not running.wait(TIMEOUT_SECONDS):
            raise TimeoutError("a task did not start")
        seconds.append(time.monotonic() - began)
        ended.wait(TIMEOUT_SECONDS)
    return seconds


def bare_per_second(count: int) -> float:
    """The same program, started by subprocess."""
    began = time.monotonic()
    with ThreadPoolExecutor(SLOTS) as pool:
        for code in pool.map(lambda _: subprocess.run(COMMAND, check=False).returncode, range(count)):
            if code:
                raise RuntimeError(f"exit code {code}")
    return count / (time.monotonic() - began)


def measure(report: Report, *, tasks: int, starts: int) -> None:
    engine = Engine()
    try:
        tasks_per_second(engine, 50, 0)
        rate = tasks_per_second(engine, tasks, 50)
        seconds = start_seconds(engine, starts, 50 + tasks)
    finally:
        engine.close()
    report.add(f"local engine: {tasks:,} × true, {SLOTS} at a time", rate, "tasks/s", "subprocess", bare_per_second(tasks))
    report.add("local engine: request to process started: p50", percentile(seconds, 50) * 1000, "ms")
    report.add("local engine: request to process started: p99", percentile(seconds, 99) * 1000, "ms")


if __name__ == "__main__":
    options = parse(__doc__ or "", tasks=1000, starts=100)
    report = Report()
    measure(report, tasks=options.tasks, starts=options.starts)
    report.finish(options.json)
