"""Random submissions, ends, checkpoints, cancellations and changes of leader between plans that stop some for others.

docs/concepts/preemption.md
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from bushel.control.schedule import Scheduler
from bushel.scheduling.plan import Policy
from bushel.store.attempts import AttemptKey
from bushel.store.database import Database
from tests.control.farm import GIB, make_farm, over_committed, rows, same_as_loaded, submit_job
from tests.control.lifecycle_world import task

STEPS = 40
ROUNDS_TO_REST = 40

LIVE = "select job_id, index, number from attempts where state <> 'ended' order by job_id, index"
STOPPING = "select job_id, index, number from attempts where state = 'stopping' order by job_id, index"
OF_OWNER = """
    select coalesce(sum(pending_count), 0) as waiting, coalesce(sum(starting_count + running_count + stopping_count), 0) as live
    from jobs j join queues q on q.id = j.queue_id where q.name = 'owner' and j.ended_at is null
"""


class Exchange:
    """`owner` is guaranteed 8 of 16 CPUs, `main` and `other` share the rest and whatever it leaves."""

    def __init__(self, database: Database, seed: int) -> None:
        self.farm = make_farm(database)
        self.random = random.Random(seed)
        self.jobs: list[int] = []
        with database.transaction() as tx:
            tx.execute(
                "insert into queues (name, scope_id, weight, guarantee) select 'owner', scope_id, 0, %s from queues where name = 'main'",
                (json.dumps({"cpu": 8000, "memory": 8 * GIB}),),
            )
            tx.execute("insert into queues (name, scope_id) select 'other', scope_id from queues where name = 'main'")
        self.new_leader()

    def new_leader(self) -> None:
        self.scheduler = Scheduler(self.farm.database, self.farm.lease, Policy(reclaim=True))

    def submit(self) -> None:
        queue = self.random.choice(["main", "main", "other", "owner"]) if len(self.jobs) > 6 else "main"
        document: dict[str, Any] = {"resources": {"cpu": 1, "memory": "1GiB"}}
        if queue == "owner":
            document |= self.random.choice([{}, {"array": "0-3"}])
        else:
            document["resources"] = {"cpu": self.random.choice([1, 2, 4]), "memory": "1GiB"}
            document |= self.random.choice([{}, {}, {"nodes": 2}, {"array": "0-2%2"}, {"priority": 200}])
        ids = submit_job(self.farm, **document)
        with self.farm.database.transaction() as tx:
            tx.execute("update jobs set queue_id = (select id from queues where name = %s) where id = any(%s)", (queue, ids))
        self.jobs += ids

    def cancel(self) -> None:
        self.farm.cancel(self.random.choice(self.jobs))

    def end(self) -> None:
        for row in self.some(LIVE):
            self.report(row, "ended", self.random.choice([0, 0, 143]))

    def end_what_stops(self) -> None:
        for row in self.some(STOPPING):
            self.report(row, "ended", 143)

    def checkpoint(self) -> None:
        for row in self.some(LIVE):
            self.report(row, "running", None, progress={"checkpoint": {"uri": f"/{self.random.random()}"}})

    def some(self, query: str) -> list[AttemptKey]:
        found = [(row["job_id"], row["index"], row["number"]) for row in rows(self.farm, query)]
        return self.random.sample(found, min(len(found), self.random.choice([1, 1, 3])))

    def report(self, key: AttemptKey, state: str, exit_code: int | None, **rest: Any) -> None:
        attempt = self.farm.attempt(key)
        agent = next(agent for agent in self.farm.agents if agent.cluster_id == attempt["cluster_id"])
        ranks = sum(part["ranks"][1] - part["ranks"][0] for part in attempt["placement"])
        self.farm.sync(agent, agent.report(key, state, *(task(state, exit_code, rank) for rank in range(ranks)), **rest))

    def plan(self) -> None:
        self.scheduler.step()

    def check(self) -> None:
        assert over_committed(self.farm) == []
        same_as_loaded(self.farm, self.scheduler._keeper)

    def rest(self) -> int:
        """Let all that stops end, and plan, until nothing moves. How many rounds that took."""
        for number in range(ROUNDS_TO_REST):
            moved = self.scheduler.step()
            found = rows(self.farm, STOPPING)
            for row in found:
                self.report((row["job_id"], row["index"], row["number"]), "ended", 143)
            if not moved and not found:
                return number
        raise AssertionError(f"still moving after {ROUNDS_TO_REST} rounds")


@pytest.mark.parametrize("seed", range(6))
def test_exchanges_come_to_rest_with_every_guarantee_met(database: Database, seed: int) -> None:
    """docs/concepts/preemption.md#ends"""
    world = Exchange(database, seed)
    for _ in range(8):
        world.submit()
    world.plan()
    for _ in range(STEPS):
        choices = (
            [world.submit] * 4 + [world.plan] * 5 + [world.end_what_stops, world.end, world.checkpoint, world.cancel, world.new_leader]
        )
        world.random.choice(choices)()
        assert over_committed(world.farm) == []
    world.check()
    world.rest()
    world.check()
    (owner,) = rows(world.farm, OF_OWNER)
    assert not owner["waiting"] or owner["live"] >= 8, "a job within the guarantee waits"
    preempted = rows(world.farm, "select count(*) as n from attempts where outcome = 'preempted'")[0]["n"]
    told = rows(world.farm, "select count(*) as n from events where kind = 'attempt.stopping' and body ? 'for_job'")[0]["n"]
    assert preempted <= told
