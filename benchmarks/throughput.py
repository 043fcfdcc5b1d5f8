"""How fast small tasks go from submission to end, as jobs and as one array, and how soon an idle system starts one.

The peer is Slurm on this machine, with as many slots, the same command, in the same minute.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks import slurm
from benchmarks.installation import ENDED, Installation, ask, running_installation, wait_until_ended
from benchmarks.report import Report, parse, percentile

SLOTS = 32
TRUE = {"run": ["true"], "placement": {"clusters": ["bench"]}, "resources": {"cpu": 1, "memory": "64MiB"}}
OPEN = "/v1/jobs?state=queued&state=starting&state=running&limit=1"


def as_jobs(installation: Installation, count: int) -> float:
    """Tasks a second, submission included."""
    transport = installation.transport()
    began = time.monotonic()
    ask(transport, "POST", "/v1/jobs", {"jobs": [{**TRUE, "name": f"true-{number}"} for number in range(count)]})
    wait_until_ended(transport, OPEN, count)
    return count / (time.monotonic() - began)


def as_array(installation: Installation, count: int) -> float:
    transport = installation.transport()
    began = time.monotonic()
    job = ask(transport, "POST", "/v1/jobs", {**TRUE, "name": "array", "array": f"0-{count - 1}"})["metadata"]["id"]
    while (state := ask(transport, "GET", f"/v1/jobs/{job}")["status"]["state"]) not in ENDED:
        if time.monotonic() - began > 300:
            raise TimeoutError(f"the array is {state} after 300 s")
        time.sleep(0.05)
    if state != "succeeded":
        raise RuntimeError(f"the array ended as {state}")
    return count / (time.monotonic() - began)


def latencies(installation: Installation, count: int) -> list[float]:
    """Seconds from just before the request to the task's first instruction, each on an idle system."""
    seconds = []
    transport = installation.transport()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            mark = Path(folder) / str(number)
            document = {**TRUE, "name": f"start-{number}", "run": ["/bin/sh", "-c", f"date +%s.%N > {mark}.part && mv {mark}.part {mark}"]}
            began = time.time()
            ask(transport, "POST", "/v1/jobs", document)
            while not mark.exists():
                if time.time() - began > 30:
                    raise TimeoutError("the task had not started after 30 s")
                time.sleep(0.002)
            seconds.append(float(mark.read_text()) - began)
            time.sleep(0.15)
    return seconds


def slurm_rates(count: int) -> tuple[float, float]:
    """Tasks a second, as jobs and as one array."""
    with slurm.running_slurm(slots=SLOTS) as peer:
        began = time.monotonic()
        for _ in range(count):
            peer.submit()
        peer.wait_until_empty()
        jobs = count / (time.monotonic() - began)
        began = time.monotonic()
        peer.submit(f"--array=0-{count - 1}")
        peer.wait_until_empty()
        return jobs, count / (time.monotonic() - began)


def measure(report: Report, *, tasks: int, starts: int, slurm_tasks: int) -> None:
    with running_installation(slots=SLOTS) as installation:
        as_jobs(installation, 50)
        jobs = as_jobs(installation, tasks)
        array = as_array(installation, tasks)
        seconds = latencies(installation, starts)
    missing = slurm.available()
    if missing:
        report.say(missing)
    slurm_jobs, slurm_array = (None, None) if missing else slurm_rates(slurm_tasks)
    report.add(f"run {tasks:,} × true as jobs", jobs, "tasks/s", "Slurm" if slurm_jobs else None, slurm_jobs)
    report.add(f"run {tasks:,} × true as one array", array, "tasks/s", "Slurm" if slurm_array else None, slurm_array)
    report.add("idle system, submit to process started: p50", percentile(seconds, 50) * 1000, "ms")
    report.add("idle system, submit to process started: p99", percentile(seconds, 99) * 1000, "ms")


if __name__ == "__main__":
    options = parse(__doc__ or "", tasks=1000, starts=100, slurm_tasks=200)
    report = Report()
    measure(report, tasks=options.tasks, starts=options.starts, slurm_tasks=options.slurm_tasks)
    report.finish(options.json)
