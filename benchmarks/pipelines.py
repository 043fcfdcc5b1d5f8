"""What a large run costs the control plane: planning it, carrying it on, showing it, and what of memory it holds.

One thread, one connection, no scheduler, agent or process: partitions are finished by a stroke of the pen, out of order, so that what is
measured is the run's own state. The same is measured at the beginning and near the end of the run, to see whether it grows: what may grow
is what is under way at once, as that is what scatters the ranges, so both times as much is.
"""

from __future__ import annotations

import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from benchmarks.installation import running_installation
from benchmarks.report import Report, parse
from bushel.api.run_views import full_run_view, grid_view
from bushel.control import runs
from bushel.control.advance import Advancer
from bushel.control.bootstrap import bootstrap
from bushel.control.elements import lock_jobs, write_jobs
from bushel.control.pipelines import apply, document_of
from bushel.domain.permissions import Role
from bushel.domain.principal import Principal
from bushel.domain.ranges import IndexRanges
from bushel.spec.pipeline_canonical import canonical_pipeline
from bushel.store import leases
from bushel.store import runs as store
from bushel.store.database import Database
from bushel.store.migrate import migrate

SPREAD = 64
"""Partitions that are under way at once finish in any order."""

VIEWS = 21


def document(partitions: int, stages: int) -> dict[str, Any]:
    chain = {f"s{number}": {"run": "true", "after": [f"s{number - 1}"] if number else []} for number in range(stages)}
    return {"name": "large", "partitions": [f"2026/drive-{number:07}" for number in range(partitions)], "stages": chain}


class Large:
    """A run, and the hand that finishes its partitions."""

    def __init__(self, database: Database, report: Report, partitions: int, stages: int) -> None:
        self.database = database
        self.report = report
        self.partitions = partitions
        with database.transaction() as tx:
            made = bootstrap(tx)
            lease = leases.acquire(tx, "control", "benchmark", 3600.0)
        assert lease is not None
        principal = Principal(made.admin_principal_id, "admin", "user", bindings={"home": Role.ADMIN}, request_id="benchmark")
        self.advancer = Advancer(database, lease)
        with self.timed("check the document", "s"):
            canonical = canonical_pipeline(document(partitions, stages))
        with self.timed("apply it", "s"), database.transaction() as tx:
            pipeline, _ = apply(tx, principal, canonical, "home/main/main")
        with self.timed("begin a run", "s"), database.transaction() as tx:
            self.run_id = runs.begin(tx, principal, pipeline, document_of(tx, pipeline), 1, made.queue_id)
        with self.timed("first step", "s"):
            self.settle()
        with database.transaction() as tx:
            self.jobs = [row["job_id"] for row in store.jobs(tx, [self.run_id])]
        self.position = [0] * stages

    @contextmanager
    def timed(self, name: str, unit: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.report.add(name, seconds * (1000 if unit == "ms" else 1), unit)

    def settle(self) -> int:
        steps = 0
        while self.advancer.step():
            steps += 1
        return steps

    def finish(self, stage: int, count: int) -> None:
        """Some of the next partitions of a stage that may start, out of order."""
        with self.database.transaction() as tx:
            job = lock_jobs(tx, [self.jobs[stage]], with_pending=True)[self.jobs[stage]]
            pending = list((job.pending or IndexRanges()).first(count + SPREAD))
            chosen = IndexRanges.of_indices(random.Random(stage).sample(pending, min(count, len(pending))))
            job.unqueue("succeeded", chosen)
            write_jobs(tx, [job], "benchmark")

    def steps(self, name: str, times: int, count: int) -> None:
        """The median time of a step after one partition, or `count`, of a stage has finished, each stage in its turn."""
        taken, cpu = [], 0.0
        for number in range(times):
            self.finish(number % len(self.jobs), count)
            began, began_cpu = time.perf_counter(), time.process_time()
            self.advancer.step()
            taken.append(time.perf_counter() - began)
            cpu += time.process_time() - began_cpu
        self.report.add(f"{name}, {count} finished in each", statistics.median(taken) * 1000, "ms")
        self.report.add(f"{name}, {count} finished in each, of CPU without PostgreSQL's", cpu / times * 1000, "ms")
        self.report.add(f"{name}, {count} finished in each, a partition", statistics.median(taken) / count * 1000, "ms")

    def show(self, when: str) -> None:
        """The median time of each view."""
        with self.database.transaction() as tx:
            row = store.read(tx, self.run_id) or {}
            views: dict[str, Callable[[], Any]] = {"run": lambda: full_run_view(tx, row), "grid": lambda: grid_view(tx, self.run_id, 80)}
            for name, view in views.items():
                taken = []
                for _ in range(VIEWS):
                    began = time.perf_counter()
                    view()
                    taken.append(time.perf_counter() - began)
                self.report.add(f"the {name}, {when}", statistics.median(taken) * 1000, "ms")

    def carry_on(self, share: float) -> None:
        """Finish so much of each stage, a little less of each than of the one before; what is left between is under way."""
        for stage in range(len(self.jobs)):
            self.finish(stage, int(self.partitions * share) - self.partitions // 50 * stage)
            self.settle()


def measure(report: Report, *, partitions: int, stages: int) -> None:
    with running_installation() as installation:
        url = installation.database_url()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create database benchmark")
        own = url.replace("/bushel?", "/benchmark?") if "/bushel?" in url else url.rpartition("/")[0] + "/benchmark"
        migrate(own)
        with Database(own, most_connections=2) as database:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            large = Large(database, report, partitions, stages)
            large.show("before anything ended")
            large.carry_on(0.12)
            large.show("at the beginning")
            large.steps("a step at the beginning", 120, 1)
            large.steps("a step at the beginning", 60, 100)
            large.carry_on(0.75)
            large.show("near the end")
            large.steps("a step near the end", 120, 1)
            large.steps("a step near the end", 60, 100)
            report.add("memory that it took", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, "MiB")
            with database.transaction() as tx:
                size = tx.one("select pg_database_size(current_database()) as size")["size"]
            report.add("the database", size / 2**20, "MiB")


if __name__ == "__main__":
    options = parse(__doc__ or "", partitions=100_000, stages=6)
    report = Report()
    measure(report, partitions=options.partitions, stages=options.stages)
    report.finish(options.json)
