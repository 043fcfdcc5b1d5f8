"""What a partition costs where there is nothing to do: a pipeline of one stage that runs `true`, each in a process of its own.

The peer is Dagster on this machine, in the same minutes: a job of one empty step, run partition by partition inside one process that is
started once, and, for a few, as its default executor does it. Both say seconds by the clock and of CPU: the clock suffers from whatever
else the machine does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import cpu_time
from benchmarks.installation import ENDED, Installation, ask, running_installation
from benchmarks.report import Report, parse

SLOTS = 32
TIMEOUT_SECONDS = 300
LOCK = Path(__file__).parents[1] / "locks" / "dagster.txt"


def document(partitions: int) -> dict[str, Any]:
    stage = {"run": ["true"], "resources": {"cpu": 1, "memory": "64MiB"}, "placement": {"clusters": ["bench"]}}
    return {"name": "empty", "partitions": [f"p{number:04}" for number in range(partitions)], "stages": {"nothing": stage}}


def run_once(installation: Installation) -> None:
    transport = installation.transport()
    number = ask(transport, "POST", "/v1/pipelines/empty/runs", {})["number"]
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (state := ask(transport, "GET", f"/v1/pipelines/empty/runs/{number}")["state"]) not in ENDED:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the run is {state} after {TIMEOUT_SECONDS} s")
        time.sleep(0.05)
    if state != "succeeded":
        raise RuntimeError(f"the run ended as {state}")


def timed(work: Callable[[], None], count: int) -> tuple[float, float]:
    """Milliseconds by the clock and of CPU, each."""
    began, cpu = time.monotonic(), cpu_time.tree_seconds()
    work()
    return (time.monotonic() - began) / count * 1000, (cpu_time.tree_seconds() - cpu) / count * 1000


def dagster_python() -> Path:
    """Dagster as `locks/dagster.txt` pins it, by hash, in an environment that is made once and kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bushel-benchmarks"
    venv = cache / f"dagster-{zlib.crc32(LOCK.read_bytes())}"
    python, uv = venv / "bin" / "python", str(Path(sys.executable).with_name("uv"))
    if not (venv / ".ready").exists():
        cache.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "UV_NO_CONFIG": "1", "UV_COMPILE_BYTECODE": "1"}
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, venv], check=True, env=environment)
        subprocess.run([uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", LOCK], check=True, env=environment)
        (venv / ".ready").touch()
    return python


def dagster_seconds(partitions: int, in_process: int, with_processes: int) -> dict[str, float]:
    """Seconds of a partition."""
    script = Path(__file__).with_name("dagster_runs.py")
    with tempfile.TemporaryDirectory(prefix="bench-dagster-") as folder:
        words = [dagster_python(), "-P", script, folder, str(partitions), str(in_process), str(with_processes)]
        environment = {**os.environ, "DAGSTER_DISABLE_TELEMETRY": "1", "DAGSTER_HOME": folder}
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, env=environment)
    if done.returncode:
        raise RuntimeError(f"Dagster ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(report: Report, *, partitions: int, dagster_runs: int, process_runs: int) -> None:
    cpu_time.adopt_orphans()
    with running_installation(slots=SLOTS) as installation:
        for count in (50, partitions):  # the first warms up
            ask(installation.transport(), "POST", "/v1/pipelines", document(count))
            clock, cpu = timed(lambda: run_once(installation), count)
    peer = {name: seconds * 1000 for name, seconds in dagster_seconds(partitions, dagster_runs, process_runs).items()}
    report.add(f"an empty partition of {partitions:,}, in a process", clock, "ms")
    report.add("the same, of CPU", cpu, "ms")
    report.add("partitions by the clock", 1000 / clock, "/s", "Dagster, all in one process", 1000 / peer["in_process"])
    report.add("partitions by CPU", 1000 / cpu, "/CPU s", "Dagster, all in one process", 1000 / peer["cpu"])
    if process_runs:
        report.add("partitions, each in a process", 1000 / clock, "/s", "Dagster, its executor", 1000 / peer["with_processes"])


if __name__ == "__main__":
    options = parse(__doc__ or "", partitions=1000, dagster_runs=30, process_runs=3)
    report = Report()
    measure(report, partitions=options.partitions, dagster_runs=options.dagster_runs, process_runs=options.process_runs)
    report.finish(options.json)
