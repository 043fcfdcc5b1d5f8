"""How fast jobs are acknowledged, each durable before its answer: batches of 1,000, and one a request from 16 clients.

The peer of the latter is Slurm's `sbatch` from as many clients at once.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks import slurm
from benchmarks.installation import Installation, ask, running_installation
from benchmarks.report import Report, parse, percentile

HELD = {"run": ["true"], "hold": True, "resources": {"cpu": 0.1, "memory": "64MiB"}}
"""Held, so that nothing but submission is measured."""


def batches(installation: Installation, count: int, batch: int = 1000, clients: int = 2) -> float:
    """Jobs acknowledged a second."""
    document = {"jobs": [{**HELD, "name": f"batch-{number}"} for number in range(batch)]}
    transports = [installation.transport() for _ in range(clients)]
    ask(transports[0], "POST", "/v1/jobs", document)
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda number: ask(transports[number % clients], "POST", "/v1/jobs", document), range(count // batch)))
    return count / (time.monotonic() - began)


def singles(installation: Installation, count: int, clients: int = 16) -> tuple[float, list[float]]:
    """Jobs acknowledged a second, and how many seconds each request took."""
    seconds: list[float] = []
    lock = threading.Lock()

    def client(number: int) -> None:
        transport = installation.transport()
        mine = []
        for one in range(count // clients):
            began = time.perf_counter()
            ask(transport, "POST", "/v1/jobs", {**HELD, "name": f"single-{number}-{one}"})
            mine.append(time.perf_counter() - began)
        with lock:
            seconds.extend(mine)

    began = time.monotonic()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(seconds) / (time.monotonic() - began), seconds


def sbatch(count: int, clients: int = 16) -> float:
    with slurm.running_slurm(slots=1) as peer, ThreadPoolExecutor(clients) as pool:
        began = time.monotonic()
        list(pool.map(lambda _: peer.submit("--hold"), range(count)))
        return count / (time.monotonic() - began)


def measure(report: Report, *, jobs: int, requests: int) -> None:
    with running_installation() as installation:
        report.add("submit, batches of 1,000", batches(installation, jobs), "jobs/s")
        singles(installation, 160)
        rate, seconds = singles(installation, requests)
    missing = slurm.available()
    if missing:
        report.say(missing)
    baseline = None if missing else sbatch(min(requests, 320))
    report.add("submit, one a request, 16 clients", rate, "jobs/s", "sbatch" if baseline else None, baseline)
    report.add("submit, one a request: p99", percentile(seconds, 99) * 1000, "ms")


if __name__ == "__main__":
    options = parse(__doc__ or "", jobs=20_000, requests=3_200)
    report = Report()
    measure(report, jobs=options.jobs, requests=options.requests)
    report.finish(options.json)
