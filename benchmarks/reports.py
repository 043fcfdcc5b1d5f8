"""How fast ends of tasks are recorded: attempts, elements, jobs and events, durable, in messages of an agent of 50 and 500 reports.

Everything happens in one thread and one connection, so a rate of R means that one core, PostgreSQL included, could do R a second at most
and half a core R/2. It is the server's side alone: no HTTP, no agent, no processes.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.installation import running_installation
from benchmarks.report import Report, parse
from bushel.control import sync
from bushel.control.submit import submit
from bushel.domain.ids import attempt_id
from bushel.domain.permissions import Role
from bushel.domain.principal import Principal
from bushel.spec.canonical import canonical
from bushel.store import clusters
from bushel.store.database import Database, Transaction

LEASE_SECONDS = 600.0

_START = """
    update jobs set user_hold = false, state = 'starting', pending = '{}', pending_count = 0, starting_count = element_count
    where id = any(%s)
"""

_ATTEMPTS = """
    insert into attempts (job_id, index, number, cluster_id, queue_id, epoch, placement, desired_version)
    select j.id, element.index, 1, c.id, j.queue_id, c.epoch, '[{"group": "main", "ranks": [0, 1], "node": 0, "amounts": {"cpu": 100}}]', 0
    from jobs j cross join lateral generate_series(0, j.element_count - 1) element (index) cross join clusters c
    where j.id = any(%s) and c.id = %s
"""


class Agent:
    """A cluster without an agent, for which this process speaks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.transaction() as tx:
            site = tx.one("insert into sites (name) values ('reports') returning id")["id"]
            cluster_id = clusters.insert(tx, site, "reports", "local")
            admin = tx.one("select id from principals where name = 'admin'")["id"]
        assert cluster_id is not None
        self.cluster_id = cluster_id
        self.principal = Principal(admin, "admin", "user", bindings={"home": Role.ADMIN}, request_id="benchmark")
        self.epoch = sync.receive(database, cluster_id, self._request(None, []), LEASE_SECONDS).epoch

    def start(self, tx: Transaction, documents: list[dict[str, Any]]) -> list[str]:
        """Jobs whose elements are all starting here. Ids of their attempts."""
        rows = submit(tx, self.principal, [canonical(document) for document in documents], project="home/main/main")
        ids = [row["id"] for row in rows]
        tx.execute(_START, (ids,))
        tx.execute(_ATTEMPTS, (ids, self.cluster_id))
        return [attempt_id(row["id"], index, 1) for row in rows for index in range(row["element_count"])]

    def report(self, names: list[str], state: str, version: int, batch: int) -> float:
        """Reports a second."""
        task: dict[str, Any] = {"rank": 0, "state": state, "started_at": "2026-01-01T00:00:00Z"}
        if state == "ended":
            task |= {"ended_at": "2026-01-01T00:00:01Z", "exit_code": 0, "usage": {"cpu_seconds": 0.01, "peak_memory_bytes": 4 << 20}}
        reports = [{"id": name, "report_version": version, "state": state, "tasks": [task]} for name in names]
        began = time.perf_counter()
        for first in range(0, len(reports), batch):
            sync.receive(self.database, self.cluster_id, self._request(self.epoch, reports[first : first + batch]), LEASE_SECONDS)
        return len(names) / (time.perf_counter() - began)

    def _request(self, epoch: int | None, reports: list[dict[str, Any]]) -> Any:
        return {
            "incarnation": "benchmark",
            "epoch": epoch,
            "sent_at": "",
            "known_version": 1,
            "complete": False,
            "attempts": reports,
            "wait_seconds": 0,
        }


def measure(report: Report, *, tasks: int) -> None:
    shapes = {
        "jobs": [{"run": ["true"], "name": f"j{number}", "hold": True} for number in range(tasks)],
        "an array": [{"run": ["true"], "name": "array", "hold": True, "array": f"0-{tasks - 1}"}],
    }
    with running_installation() as installation, Database(installation.database_url(), most_connections=2) as database:
        agent = Agent(database)
        for batch in (50, 500):
            for shape, documents in shapes.items():
                with database.transaction() as tx:
                    names = agent.start(tx, documents)
                report.add(f"starts recorded, {shape}, {batch} a message", agent.report(names, "running", 1, batch), "1/s")
                report.add(f"ends recorded, {shape}, {batch} a message", agent.report(names, "ended", 2, batch), "1/s")


if __name__ == "__main__":
    options = parse(__doc__ or "", tasks=2000)
    report = Report()
    measure(report, tasks=options.tasks)
    report.finish(options.json)
