"""How long the command line takes to answer, beside an interpreter that does nothing, and the platform to start."""

from __future__ import annotations

import compileall
import subprocess
import sys
import time
from pathlib import Path

import bushel
from benchmarks.installation import BUSHEL, Installation, ask, new_home, running_installation
from benchmarks.report import Report, parse, percentile


def milliseconds(command: list[str], times: int, environment: dict[str, str] | None = None) -> float:
    """The median of `times` runs."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append((time.perf_counter() - began) * 1000)
    return percentile(taken, 50)


def round_trip_milliseconds(installation: Installation, times: int) -> float:
    """The request that `bushel ls` makes, on a connection of its own; the median."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        ask(installation.transport(), "GET", "/v1/jobs?limit=50")
        taken.append((time.perf_counter() - began) * 1000)
    return percentile(taken, 50)


def up_seconds(again: int) -> tuple[float, float]:
    """`bushel up` in a new home, and the median of the starts after a stop."""
    with new_home() as installation:
        try:
            began = time.monotonic()
            installation.run("up", "--port", "0")
            first = time.monotonic() - began
            seconds = []
            for _ in range(again):
                installation.run("down")
                began = time.monotonic()
                installation.run("up")
                seconds.append(time.monotonic() - began)
        finally:
            installation.run("down", "--stop-tasks")
    return first, percentile(seconds, 50)


def measure(report: Report, *, times: int) -> None:
    compileall.compile_dir(Path(bushel.__file__).parent, quiet=1)  # as whoever installs a package finds it
    first, again = up_seconds(5)
    report.add("bushel up, the first time", first, "s")
    report.add("bushel up, later", again, "s")
    with running_installation() as installation:
        milliseconds([BUSHEL, "--help"], 3)
        bare = milliseconds([sys.executable, "-c", "pass"], times)
        report.add("bushel --help", milliseconds([BUSHEL, "--help"], times), "ms", "python -c pass", bare)
        bare = milliseconds([sys.executable, "-c", "pass"], times)
        answered = round_trip_milliseconds(installation, times)
        listed = milliseconds([BUSHEL, "ls"], times, installation.environment)
        report.add("bushel ls, without its round trip", listed - answered, "ms", "python -c pass", bare)
        report.add("the round trip of bushel ls", answered, "ms")


if __name__ == "__main__":
    options = parse(__doc__ or "", times=30)
    report = Report()
    measure(report, times=options.times)
    report.finish(options.json)
