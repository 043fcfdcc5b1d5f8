"""A full house: lists and filters over a million jobs, and what 100,000 queued ones cost the control plane."""

from __future__ import annotations

import random
import time
from urllib.parse import urlencode

import psycopg

from benchmarks.installation import Installation, ask, running_installation
from benchmarks.report import Report, parse, percentile
from bushel.control.schedule import Scheduler
from bushel.store.database import Database
from bushel.store.leases import Lease

FILL = """
    insert into jobs (project_id, queue_id, submitter_id, name, labels, spec, state, priority, element_count, pending,
                      pending_count, succeeded_count, failed_count, submitted_at, started_at, ended_at)
    select project.id, project.queue_id, principal.id,
           'job-' || (number %% 5000),
           jsonb_build_object('half', (number %% 2)::text, 'rare', (number %% 50000)::text),
           '{"name": "filled", "run": ["true"], "resources": {"cpu": 1, "memory": 1073741824}}',
           case when number %% 20 = 0 then 'failed' else 'succeeded' end, 500, 1, '{}', 0,
           case when number %% 20 = 0 then 0 else 1 end, case when number %% 20 = 0 then 1 else 0 end,
           now() - (%(count)s - number) * interval '1 second', now(), now()
    from generate_series(%(first)s, %(last)s) number,
         (select * from scopes where kind = 'project' limit 1) project, (select id from principals where kind = 'user' limit 1) principal
"""

FILL_LABELS = """
    insert into job_labels (project_id, label, job_id)
    select project_id, key || '=' || value, id from jobs, jsonb_each_text(labels) order by 1, 2, 3
"""


def fill(installation: Installation, count: int) -> None:
    """Ended jobs, straight into the table."""
    with psycopg.connect(installation.database_url(), autocommit=True) as connection:
        for first in range(1, count + 1, 100_000):
            connection.execute(FILL, {"first": first, "last": min(first + 99_999, count), "count": count})
        connection.execute(FILL_LABELS)
        connection.execute("vacuum analyze jobs")
        connection.execute("vacuum analyze job_labels")


def list_seconds(installation: Installation, pages: int) -> list[float]:
    """Every kind of filter, and pages deep into each, in random order."""
    transport = installation.transport()
    filters: list[list[tuple[str, str]]] = [
        [],
        [("state", "failed")],
        [("state", "succeeded")],
        [("state", "running")],
        [("label", "half=1")],
        [("label", "rare=77")],
        [("label", "half=0"), ("label", "rare=3")],
        [("name", "job-42")],
        [("name", "no-such")],
        [("submitter", "admin"), ("state", "failed")],
        [("queue", "main"), ("label", "half=1"), ("state", "failed")],
    ]
    chooser = random.Random(7)
    following: list[str | None] = [None] * len(filters)
    seconds = []
    for _ in range(pages):
        which = chooser.randrange(len(filters))
        page = following[which]
        query = urlencode([*filters[which], ("limit", "50"), *([("page", page)] if page else [])])
        began = time.perf_counter()
        answer = ask(transport, "GET", f"/v1/jobs?{query}")
        seconds.append(time.perf_counter() - began)
        following[which] = answer["next_page"]
    return seconds


def queued(installation: Installation, count: int) -> None:
    """Jobs that no node can hold, so they wait."""
    transport = installation.transport()
    for first in range(0, count, 5_000):
        jobs = [
            {
                "name": f"waiting-{number}",
                "run": ["true"],
                "resources": {"cpu": 512 + number % 200, "memory": "1TiB"},
                "priority": number % 500,
            }
            for number in range(first, min(first + 5_000, count))
        ]
        ask(transport, "POST", "/v1/jobs", {"jobs": jobs})


def round_seconds(installation: Installation, rounds: int) -> tuple[float, list[float]]:
    """The first round of a scheduler, which loads everything and plans, and rounds in which nothing had changed.

    It is a second scheduler, over the same database. No job fits, so it has nothing to commit and needs no lease.
    """
    with Database(installation.database_url(), most_connections=2) as database:
        scheduler = Scheduler(database, Lease("benchmark", "benchmark", 0))
        began = time.perf_counter()
        started = scheduler.step()
        first = time.perf_counter() - began
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            started += scheduler.step()
            seconds.append(time.perf_counter() - began)
            time.sleep(0.01)
    if started:
        raise RuntimeError(f"{started} of the jobs that were to wait have started")
    return first, seconds


def measure(report: Report, *, jobs: int, pages: int, waiting: int) -> None:
    with running_installation() as installation:
        report.say(f"filling the table with {jobs:,} jobs")
        fill(installation, jobs)
        list_seconds(installation, 22)
        seconds = list_seconds(installation, pages)
        report.add(f"lists and filters over {jobs:,} jobs: p99", percentile(seconds, 99) * 1000, "ms")
        report.add(f"lists and filters over {jobs:,} jobs: p50", percentile(seconds, 50) * 1000, "ms")
        queued(installation, waiting)
        time.sleep(5)
        report.add(f"{waiting:,} queued jobs: memory of API and controllers", installation.memory_bytes("api", "control") / 2**20, "MiB")
        first, seconds = round_seconds(installation, 200)
        report.add(f"{waiting:,} queued jobs: a round when nothing changed: p50", percentile(seconds, 50) * 1000, "ms")
        report.add(f"{waiting:,} queued jobs: a round when nothing changed: p99", percentile(seconds, 99) * 1000, "ms")
        report.add(f"{waiting:,} queued jobs: the first round, which reads all of them", first * 1000, "ms")


if __name__ == "__main__":
    options = parse(__doc__ or "", jobs=1_000_000, pages=400, waiting=100_000)
    report = Report()
    measure(report, jobs=options.jobs, pages=options.pages, waiting=options.waiting)
    report.finish(options.json)
