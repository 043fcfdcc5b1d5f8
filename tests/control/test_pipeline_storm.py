"""docs/concepts/pipelines.md#limits-and-order: all limits at once, over several runs, while the control plane is killed again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from bushel.store import partitions
from bushel.store.attempts import AttemptKey
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines

STAGE_LIMITS = {"first": 6, "third": 4}
PIPELINE_LIMIT, SITE_LIMITS = 9, {"there": 3}
PARTITIONS = 36
RUNS = 3
POINTS = (
    "pipelines.before_commit",
    "pipelines.after_commit",
    "pipelines.before_commit@2",
    "database.before_commit@3",
    "database.after_commit@2",
)

STEPS = """
import sys
from bushel.control.advance import Advancer
from bushel.store import leases
from bushel.store.database import Database
with Database(sys.argv[1]) as database:
    advancer = Advancer(database, leases.Lease(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    while advancer.step(): pass
"""

IN_FLIGHT = """
    select r.id as run, s.name as stage, sj.site,
           j.pending_count + j.delayed_count + j.starting_count + j.running_count + j.stopping_count as count
    from jobs j join stage_jobs sj on sj.job_id = j.id join run_stages s on s.id = sj.stage_id join runs r on r.id = s.run_id
"""


def document() -> dict[str, Any]:
    """A third of the partitions has to stay at the small site."""
    names = [{"name": f"p{number}", "site": "here" if number % 3 else "there"} for number in range(PARTITIONS)]
    stages = {
        "first": {"run": "true", "limit": STAGE_LIMITS["first"]},
        "second": {"run": "true", "after": "first"},
        "third": {"run": "true", "after": ["second"], "limit": STAGE_LIMITS["third"]},
        "sum": {"once": True, "run": "true", "after": "third", "placement": {"sites": ["here"]}},
    }
    limits = {"running": PIPELINE_LIMIT, "sites": SITE_LIMITS}
    return {"name": "p", "partitions": names, "limits": limits, "stages": stages, "canary": {"count": 8}}


class Storm:
    """Elements start and end in any order; `seen` is the most that was ever in flight under each limit."""

    def __init__(self, world: World, url: str, seed: int) -> None:
        self.world, self.url = world, url
        self.pipelines = Pipelines(world)
        self.random = random.Random(seed)
        self.live: list[tuple[AttemptKey, str]] = []
        self.done: Counter[tuple[int, str, str]] = Counter()
        self.seen: Counter[str] = Counter()
        self.kills = 0

    def start_some(self) -> None:
        for job_id, stage, run, set_id, indices in self.pipelines.pending():
            keys = self.world.place(job_id, self.random.randint(0, len(indices)))
            with self.world.database.transaction() as tx:
                names = partitions.names(tx, ((set_id, key[1]) for key in keys))
            for key in keys:
                self.done[run, stage, names[set_id, key[1]][0]] += 1
                self.live.append((key, stage))

    def end_some(self, at_least: int = 0) -> None:
        self.random.shuffle(self.live)
        count = max(at_least, self.random.randint(0, len(self.live)))
        ending, self.live = self.live[:count], self.live[count:]
        agent = self.world.agents[0]
        task = {"rank": 0, "state": "ended", "started_at": "2026-01-01T00:00:00Z", "exit_code": 0}
        if ending:
            self.world.sync(agent, *(agent.report(key, "ended", task) for key, _ in ending))

    def control(self, *, killed: bool) -> None:
        if killed:
            lease = self.world.lease
            ran = subprocess.run(
                [sys.executable, "-c", STEPS, self.url, lease.name, lease.holder, str(lease.epoch)],
                env={**os.environ, "BUSHEL_FAILPOINT": self.random.choice(POINTS)}, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert ran.returncode in (0, -signal.SIGKILL), ran.stderr
            self.kills += ran.returncode == -signal.SIGKILL
        else:
            self.pipelines.settle()

    def check(self) -> None:
        with self.world.database.transaction() as tx:
            rows = tx.all(IN_FLIGHT)
        flying: Counter[str] = Counter()
        for row in rows:
            flying["pipeline"] += row["count"]
            if row["stage"] in STAGE_LIMITS:
                flying[f"{row['stage']} of run {row['run']}"] += row["count"]
            if row["site"] == "there":
                flying["there"] += row["count"]
        limits = {"pipeline": PIPELINE_LIMIT, **SITE_LIMITS}
        for name, count in flying.items():
            limit = limits[name] if name in limits else STAGE_LIMITS[name.partition(" ")[0]]
            assert count <= limit, f"{count} in flight, and the limit of {name} is {limit}"
            self.seen[name] = max(self.seen[name], count)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_no_limit_is_ever_passed_and_every_partition_is_done_once(world: World, database_url: str) -> None:
    storm = Storm(world, database_url, seed=1)
    with world.database.transaction() as tx:
        tx.execute("insert into sites (name) values ('there')")
    runs = [storm.pipelines.run(document(), backfill=number == 0) for number in range(RUNS)]
    rounds = 0
    while any(storm.pipelines.state(run) == "running" for run in runs):
        rounds += 1
        assert rounds < 3000, storm.pipelines.counts(runs[0])
        storm.control(killed=rounds % 9 == 0)
        storm.check()
        storm.start_some()
        storm.end_some(at_least=min(1, len(storm.live)))
        storm.check()
    assert [storm.pipelines.state(run) for run in runs] == ["succeeded"] * RUNS
    assert len(storm.done) == RUNS * (3 * PARTITIONS + 1)
    assert set(storm.done.values()) == {1}, "each partition is done once"
    assert storm.kills >= 5
    assert (storm.seen["there"], storm.seen["pipeline"]) == (SITE_LIMITS["there"], PIPELINE_LIMIT), "the limits are used"
    for stage, limit in STAGE_LIMITS.items():
        assert max(storm.seen[f"{stage} of run {run}"] for run in runs) == limit
