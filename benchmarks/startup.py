"""How long the command line takes to answer, beside an interpreter that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.installation import BUSHEL, running_installation
from benchmarks.report import Report, parse, percentile


def milliseconds(command: list[str], times: int, environment: dict[str, str] | None = None) -> float:
    """The median of `times` runs."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append((time.perf_counter() - began) * 1000)
    return percentile(taken, 50)


def measure(report: Report, *, times: int) -> None:
    with running_installation() as installation:
        milliseconds([BUSHEL, "--help"], 3)
        bare = milliseconds([sys.executable, "-c", "pass"], times)
        report.add("bushel --help", milliseconds([BUSHEL, "--help"], times), "ms", "python -c pass", bare)
        bare = milliseconds([sys.executable, "-c", "pass"], times)
        report.add("bushel ls", milliseconds([BUSHEL, "ls"], times, installation.environment), "ms", "python -c pass", bare)


if __name__ == "__main__":
    options = parse(__doc__ or "", times=30)
    report = Report()
    measure(report, times=options.times)
    report.finish(options.json)
