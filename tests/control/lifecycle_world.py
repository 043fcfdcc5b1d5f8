"""A small installation without processes: clusters with leases, jobs put in directly, a placer that takes what is pending.

It stands in for submission, for the scheduler and for the agents, and for nothing of what the tests are about.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from bushel.control import backoff, cancel, dependencies, leases, sync
from bushel.control.bootstrap import bootstrap
from bushel.control.elements import lock_jobs, write_jobs
from bushel.domain.ids import attempt_id, encode_job_id
from bushel.domain.leases import RETURN_GRACE_SECONDS
from bushel.domain.lifecycle import JobState, Reason
from bushel.domain.permissions import Role
from bushel.domain.principal import Principal
from bushel.domain.ranges import IndexRanges
from bushel.store import attempts, clusters
from bushel.store import leases as leader
from bushel.store.attempts import AttemptKey
from bushel.store.database import Database, Event, Transaction

LEASE_SECONDS = 30.0
SECRET_KEY = b"k" * 32


@dataclass
class Agent:
    """What a cluster's agent would remember."""

    cluster_id: int
    incarnation: str
    epoch: int | None = None
    known_version: int = 0
    report_version: int = 0

    def request(self, **rest: Any) -> Any:
        return {
            "incarnation": self.incarnation,
            "epoch": self.epoch,
            "sent_at": "2026-01-01T00:00:00+00:00",
            "known_version": self.known_version,
            "complete": False,
            "attempts": [],
            "wait_seconds": 0,
        } | rest

    def report(self, key: AttemptKey, state: str, *tasks: dict[str, Any], version: int | None = None, **rest: Any) -> dict[str, Any]:
        if version is None:
            self.report_version += 1
            version = self.report_version
        return {"id": attempt_id(*key), "report_version": version, "state": state, "tasks": list(tasks) or [task(state)], **rest}


def task(state: str = "ended", exit_code: int | None = None, rank: int = 0, **rest: Any) -> dict[str, Any]:
    started = {} if state == "starting" else {"started_at": "2026-01-01T00:00:00Z"}
    return {"rank": rank, "state": state, **started, **({} if exit_code is None else {"exit_code": exit_code}), **rest}


@dataclass
class World:
    database: Database
    principal: Principal
    project_id: int
    queue_id: int
    lease: leader.Lease
    agents: list[Agent] = field(default_factory=list)
    nodes: dict[int, int] = field(default_factory=dict)
    _names: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    def build(cls, database: Database, cluster_count: int = 2) -> World:
        with database.transaction() as tx:
            made = bootstrap(tx)
            lease = leader.acquire(tx, "control", "test", 600.0)
            site = tx.one("insert into sites (name) values ('here') returning id")["id"]
            ids = [clusters.insert(tx, site, f"c{number}", "local") for number in range(cluster_count)]
            nodes = {}
            for cluster_id in ids:
                row = tx.one("insert into nodes (cluster_id, name, capacity) values (%s, 'n1', '{}') returning id", (cluster_id,))
                nodes[cluster_id] = row["id"]
        assert lease is not None
        admin = Principal(made.admin_principal_id, "admin", "user", bindings={"home": Role.ADMIN}, request_id="test")
        world = cls(database, admin, made.project_id, made.queue_id, lease, nodes=nodes)
        world.agents = [Agent(cluster_id, f"folder-{cluster_id}") for cluster_id in ids if cluster_id is not None]
        return world

    def submit(
        self,
        *,
        array: str | None = None,
        retry: dict[str, Any] | None = None,
        after: list[tuple[int, str]] | None = None,
        held: bool = False,
        submitter_id: int | None = None,
    ) -> int:
        indices = IndexRanges.parse(array) if array else IndexRanges(((0, 1),))
        spec: dict[str, Any] = {
            "run": "true",
            "retry": {"attempts": 3, "on": ["infrastructure", "preempted"], "backoff": 10} | (retry or {}),
        }
        if array:
            spec["array"] = array
        state = JobState.HELD if held or after else JobState.QUEUED
        with self.database.transaction() as tx:
            lock_jobs(tx, [job_id for job_id, _ in after or ()])
            job_id = tx.one(
                """
                insert into jobs (project_id, queue_id, submitter_id, name, spec, state, reason, priority, user_hold, unmet, element_count,
                                  pending, pending_count)
                values (%s, %s, %s, %s, %s, %s, 'waiting', 500, %s, %s, %s, %s, %s) returning id
                """,
                (
                    *(
                        self.project_id,
                        self.queue_id,
                        submitter_id or self.principal.id,
                        f"job{next(self._names)}",
                        Jsonb(spec),
                        state,
                        held,
                    ),
                    *(len(after or ()), len(indices), indices.to_postgres(), len(indices)),
                ),
            )["id"]
            for on_job_id, condition in after or ():
                tx.execute("insert into dependencies (job_id, on_job_id, condition) values (%s, %s, %s)", (job_id, on_job_id, condition))
                tx.execute("update jobs set dependents_due = true where id = %s and ended_at is not null", (on_job_id,))
            tx.emit(Event("job.submitted", "home/main/main", f"job/{job_id}", "admin", {"state": state, "version": 1}, job_id))
        return job_id

    def place(self, job_id: int, count: int = 1, cluster: int = 0, ranks: int = 1) -> list[AttemptKey]:
        """Start the lowest pending indices, as the scheduler would."""
        agent = self.agents[cluster]
        with self.database.transaction() as tx:
            job = lock_jobs(tx, [job_id], with_pending=True)[job_id]
            chosen = (job.pending or IndexRanges()).first(count)
            if job.state in (JobState.HELD, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED) or job.cancelling or not chosen:
                return []
            row = tx.one("select epoch, lease_expires_at > now() as leased from clusters where id = %s", (agent.cluster_id,))
            if not row["leased"]:
                return []
            version = clusters.bump(tx, [agent.cluster_id])[agent.cluster_id]
            if tx.one("select epoch from clusters where id = %s", (agent.cluster_id,))["epoch"] != row["epoch"]:
                return []
            made = {
                row["index"]: row["attempts"]
                for row in tx.all("select index, attempts from retries where job_id = %s and index = any(%s)", (job_id, list(chosen)))
            }
            keys = [(job_id, index, made.get(index, 0) + 1) for index in chosen]
            placement = [{"group": "main", "ranks": [0, ranks], "node": self.nodes[agent.cluster_id], "amounts": {"cpu": 1000}}]
            for key in keys:
                tx.execute(
                    "insert into attempts (job_id, index, number, cluster_id, queue_id, epoch, placement, desired_version)"
                    " values (%s, %s, %s, %s, %s, %s, %s, %s)",
                    (*key, agent.cluster_id, self.queue_id, row["epoch"], Jsonb(placement), version),
                )
            job.start(chosen)
            write_jobs(tx, [job], "test")
        return keys

    def sync(self, agent: Agent, *reports: dict[str, Any], **rest: Any) -> Any:
        """One exchange, the answer kept by the agent."""
        received = sync.receive(self.database, agent.cluster_id, agent.request(attempts=list(reports), **rest), LEASE_SECONDS)
        answer = sync.answer(self.database, received, LEASE_SECONDS, SECRET_KEY)
        agent.epoch, agent.known_version = answer["epoch"], answer["version"]
        return answer

    def run_to(self, key: AttemptKey, exit_code: int, cluster: int = 0, **rest: Any) -> None:
        agent = self.agents[cluster]
        self.sync(agent, agent.report(key, "ended", task(exit_code=exit_code, **rest)))

    def settle(self) -> None:
        """Let dependencies, back-off and leases do what is due."""
        while leases.step(self.database, self.lease, self.lease.since + RETURN_GRACE_SECONDS, RETURN_GRACE_SECONDS):
            pass
        for controller in (dependencies, backoff):
            while controller.step(self.database, self.lease):
                pass

    def make_due(self) -> None:
        """Let all back-off pass."""
        with self.database.transaction() as tx:
            tx.execute("update retries set due_at = now() - interval '1 second' where due_at is not null")

    def silence(self, agent: Agent) -> None:
        """Let the agent's lease and the wait after it pass."""
        with self.database.transaction() as tx:
            tx.execute(
                "update clusters set lease_expires_at = now() - interval '10 s', lease_free_at = now() - interval '1 s' where id = %s",
                (agent.cluster_id,),
            )

    def cancel(self, job_id: int, indices: str | None = None) -> bool:
        with self.database.transaction() as tx:
            return cancel.cancel_job(tx, self.principal, job_id, IndexRanges.parse(indices) if indices else None)

    def hold(self, job_id: int, *, held: bool) -> None:
        """Hold or release a job, unless it has ended."""
        with self.database.transaction() as tx:
            job = lock_jobs(tx, [job_id])[job_id]
            if not job.ended:
                tx.execute("update jobs set user_hold = %s where id = %s", (held, job_id))
                job.user_hold, job.dirty = held, True
                write_jobs(tx, [job], "admin")

    def preempt(self, key: AttemptKey) -> None:
        with self.database.transaction() as tx:
            cancel.stop_attempts(tx, [key], Reason.PREEMPTED, 5.0, "scheduler")

    def text(self, job_id: int) -> str:
        return encode_job_id(job_id)

    def name(self, attempt: dict[str, Any]) -> str:
        return f"attempt/{attempt_id(*attempts.key_of(attempt))}"

    def job(self, job_id: int) -> dict[str, Any]:
        with self.database.transaction() as tx:
            return tx.one("select *, pending::text as pending_text from jobs where id = %s", (job_id,))

    def attempt(self, key: AttemptKey) -> dict[str, Any]:
        with self.database.transaction() as tx:
            return tx.one("select * from attempts where job_id = %s and index = %s and number = %s", key)

    def live(self, job_id: int) -> list[AttemptKey]:
        with self.database.transaction() as tx:
            rows = tx.all("select job_id, index, number from attempts where job_id = %s and state <> 'ended' order by index", (job_id,))
            return [attempts.key_of(row) for row in rows]

    def kinds(self, job_id: int) -> list[str]:
        with self.database.transaction() as tx:
            return [row["kind"] for row in tx.all("select kind from events where job_id = %s order by written_by, id", (job_id,))]

    def told(self, job_id: int) -> list[dict[str, Any]]:
        with self.database.transaction() as tx:
            return [row["body"] for row in tx.all("select body from events where job_id = %s order by written_by, id", (job_id,))]

    def results(self, job_id: int) -> dict[str, str]:
        with self.database.transaction() as tx:
            return _results(tx, job_id)


def _results(tx: Transaction, job_id: int) -> dict[str, str]:
    row = tx.one(
        """
        select coalesce(range_agg(succeeded), '{}')::text as succeeded, coalesce(range_agg(failed), '{}')::text as failed,
               coalesce(range_agg(cancelled), '{}')::text as cancelled
        from array_results where job_id = %s
        """,
        (job_id,),
    )
    return {name: str(IndexRanges.from_postgres(text)) for name, text in row.items()}
