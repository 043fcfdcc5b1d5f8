"""Past use of queues moves the order and nothing else: docs/guides/queues.md#past-use"""

from __future__ import annotations

import pytest

from bushel.control import queue_history
from bushel.control.snapshot import SnapshotKeeper
from bushel.scheduling.fairness.history import decayed
from bushel.scheduling.policy import Policy
from bushel.store.database import Database
from tests.control.farm import GIB, make_farm, rows, run_dry, same_as_loaded, scheduler, submit_job
from tests.control.lifecycle_world import World

HALF_LIFE_SECONDS = Policy().half_life_seconds


@pytest.fixture
def farm(database: Database) -> World:
    return make_farm(database)


def look(farm: World, *, seconds_later: float = 60.0) -> None:
    """As the controller would, so long after the last look."""
    with farm.database.transaction() as tx:
        tx.execute("update queue_use set as_of = as_of - make_interval(secs => %s)", (seconds_later,))
    assert queue_history.step(farm.database, farm.lease) == 0


def kept(farm: World) -> dict[str, float]:
    return {row["resource"]: row["resource_seconds"] for row in rows(farm, "select resource, resource_seconds from queue_use")}


def test_what_runs_is_added_up_and_fades(farm: World) -> None:
    jobs = submit_job(farm, 3)
    run_dry(scheduler(farm).step)
    look(farm)
    assert kept(farm) == {"cpu": 3 * 1000 * 60.0, "memory": 3 * GIB * 60.0}
    look(farm)
    assert kept(farm)["cpu"] == pytest.approx(2 * 3 * 1000 * 60.0, rel=1e-3)
    for job_id in jobs:
        key = farm.live(job_id)[0]
        farm.run_to(key, 0, next(n for n, agent in enumerate(farm.agents) if agent.cluster_id == farm.attempt(key)["cluster_id"]))
    before = kept(farm)
    look(farm, seconds_later=HALF_LIFE_SECONDS)
    assert kept(farm) == before, "what uses nothing is not written; it fades when it is read"
    keeper = SnapshotKeeper(farm.database)
    history = keeper.refresh().queues.queues[farm.queue_id].history
    assert decayed(history, keeper.now.timestamp(), HALF_LIFE_SECONDS)[0]["cpu"] == pytest.approx(before["cpu"] / 2, rel=1e-3)


def test_a_second_look_adds_only_the_time_between(farm: World) -> None:
    submit_job(farm)
    run_dry(scheduler(farm).step)
    look(farm)
    look(farm, seconds_later=6.0)
    assert kept(farm)["cpu"] == pytest.approx(66_000, rel=1e-2)
    look(farm, seconds_later=86400.0)
    assert kept(farm)["cpu"] == pytest.approx(66_000 * 2 ** (-1 / 7) + 60_000, rel=1e-2), "what nobody saw is not guessed"


def test_snapshots_follow_past_use(farm: World) -> None:
    submit_job(farm)
    planner = scheduler(farm)
    run_dry(planner.step)
    look(farm)
    same_as_loaded(farm, planner._keeper)
    assert planner._keeper.snapshot.queues.queues[farm.queue_id].history[0]["cpu"] == 60_000


def test_of_equal_queues_the_one_that_used_more_goes_later(farm: World) -> None:
    with farm.database.transaction() as tx:
        tx.execute("insert into queues (name, scope_id) select 'another', scope_id from queues where name = 'main'")
        tx.execute("insert into queue_use select id, 'cpu', 1e9, now() from queues where name = 'another'")  # it comes first by its name
    (mine, others) = submit_job(farm, 2, resources={"cpu": 3, "memory": "1GiB"}, placement={"labels": {}})
    with farm.database.transaction() as tx:
        tx.execute("update jobs set queue_id = (select id from queues where name = 'another') where id = %s", (others,))
        tx.execute("update nodes set cordoned_at = now() where name <> 'c0-n1'")
    run_dry(scheduler(farm).step)
    assert [len(farm.live(job_id)) for job_id in (mine, others)] == [1, 0]
