"""Placing work on real PostgreSQL: docs/concepts/scheduling.md#commits"""

from __future__ import annotations

import psycopg
import pytest

from bushel.control import schedule
from bushel.control.fleet import set_cordon
from bushel.control.jobs import hold, release
from bushel.control.queues import change_queue
from bushel.control.snapshot import SnapshotKeeper
from bushel.domain.errors import StaleEpoch
from bushel.domain.ids import encode_job_id
from bushel.scheduling.plan import Policy, plan
from bushel.spec.tenancy import QueueChange
from bushel.store import leases as leader
from bushel.store.database import Database
from tests.control.farm import GIB, make_farm, node, over_committed, rows, run_dry, same_as_loaded, scheduler, submit_job
from tests.control.lifecycle_world import World


@pytest.fixture
def farm(database: Database) -> World:
    return make_farm(database)


def test_a_submitted_job_gets_an_attempt_that_its_agent_is_told_of(farm: World) -> None:
    step = scheduler(farm).step
    assert step() == 0
    (job_id,) = submit_job(farm)
    assert step() == 1
    assert step() == 0
    (key,) = farm.live(job_id)
    assert key == (job_id, 0, 1)
    assert farm.job(job_id)["state"] == "starting"
    assert farm.kinds(job_id) == ["job.submitted", "attempt.starting", "job.starting"]
    attempt = farm.attempt(key)
    agent = next(agent for agent in farm.agents if agent.cluster_id == attempt["cluster_id"])
    (wanted,) = farm.sync(agent)["attempts"]
    assert wanted["placement"] == [{"group": "main", "ranks": (0, 1), "node": "c0-n1", "amounts": {"cpu": 1000, "memory": GIB}}]


def test_a_job_that_only_waits_writes_nothing(farm: World) -> None:
    submit_job(farm, 3, resources={"cpu": 64})
    step = scheduler(farm).step
    before = rows(farm, "select id, version, state from jobs")
    events = rows(farm, "select count(*) from events")
    assert [step() for _ in range(3)] == [0, 0, 0]
    assert rows(farm, "select id, version, state from jobs") == before
    assert rows(farm, "select count(*) from events") == events


def test_capacity_is_filled_and_never_passed_and_freed_room_is_used(farm: World) -> None:
    jobs = submit_job(farm, 20)
    planner = scheduler(farm)
    assert run_dry(planner.step) == 16
    assert over_committed(farm) == []
    assert [len(farm.live(job_id)) for job_id in jobs] == [1] * 16 + [0] * 4
    key = farm.live(jobs[0])[0]
    cluster = [agent.cluster_id for agent in farm.agents].index(farm.attempt(key)["cluster_id"])
    farm.run_to(key, 0, cluster)
    assert run_dry(planner.step) == 1
    assert len(farm.live(jobs[16])) == 1
    same_as_loaded(farm, planner._keeper)


def test_an_array_keeps_its_limit_and_starts_lowest_indices_first(farm: World) -> None:
    (job_id,) = submit_job(farm, array="0-99%3")
    planner = scheduler(farm)
    assert run_dry(planner.step) == 3
    assert [key[1] for key in farm.live(job_id)] == [0, 1, 2]
    assert farm.job(job_id)["pending_text"] == "{[3,100)}"
    farm.sync(farm.agents[0])
    farm.run_to((job_id, 1, 1), 0)
    assert run_dry(planner.step) == 1
    assert [key[1] for key in farm.live(job_id)] == [0, 2, 3]
    same_as_loaded(farm, planner._keeper)


def test_a_gang_starts_whole_in_one_cluster_or_not_at_all(farm: World) -> None:
    (fits,) = submit_job(farm, nodes=2, resources={"cpu": 3, "memory": "1GiB"})
    (waits,) = submit_job(farm, nodes=3, resources={"cpu": 3, "memory": "1GiB"})
    assert run_dry(scheduler(farm).step) == 1
    placement = farm.attempt(farm.live(fits)[0])["placement"]
    assert [part["ranks"] for part in placement] == [[0, 1], [1, 2]]
    assert farm.live(waits) == []


def test_shares_of_a_device_never_pass_it(farm: World) -> None:
    jobs = submit_job(farm, 8, resources={"cpu": 0.1, "memory": "1MiB", "gpu": {"model": "H100", "count": 1, "share": 0.6}})
    assert run_dry(scheduler(farm).step) == 4  # two nodes of two devices: one share of 0.6 fits on each
    devices = [part["devices"] for job_id in jobs for key in farm.live(job_id) for part in farm.attempt(key)["placement"]]
    assert sorted(devices) == [[[0]], [[0]], [[1]], [[1]]]


def test_a_scheduler_that_was_overtaken_writes_nothing(farm: World) -> None:
    """docs/concepts/guarantees.md: every commit of a leader checks its epoch."""
    submit_job(farm)
    overtaken = scheduler(farm)
    with farm.database.transaction() as tx:
        tx.execute("update leases set expires_at = '-infinity'")
        assert leader.acquire(tx, "control", "another", 600.0) is not None
    with pytest.raises(StaleEpoch):
        overtaken.step()
    assert rows(farm, "select * from attempts") == []


def test_two_plans_of_one_moment_cannot_both_be_committed(farm: World) -> None:
    """Even with a valid lease, a plan that does not know of another's placements is refused, cluster by cluster."""
    submit_job(farm, 32)
    keepers = [SnapshotKeeper(farm.database) for _ in range(2)]
    plans = [plan(keeper.refresh(), keeper.now, Policy()) for keeper in keepers]
    assert [len(made.starts) for made in plans] == [16, 16]
    assert schedule.commit(farm.database, farm.lease, keepers[0], plans[0].starts[:10]) == 10
    assert schedule.commit(farm.database, farm.lease, keepers[1], plans[1].starts[10:]) == 0
    assert over_committed(farm) == []


def test_a_job_cancelled_between_plan_and_commit_is_left_out(farm: World) -> None:
    jobs = submit_job(farm, 3)
    keeper = SnapshotKeeper(farm.database)
    made = plan(keeper.refresh(), keeper.now, Policy())
    assert farm.cancel(jobs[1])
    assert schedule.commit(farm.database, farm.lease, keeper, made.starts) == 2
    assert [len(farm.live(job_id)) for job_id in jobs] == [1, 0, 1]
    assert farm.job(jobs[1])["state"] == "cancelled"
    same_as_loaded(farm, keeper)


def test_a_job_held_between_plan_and_commit_is_left_out_and_starts_when_released(farm: World) -> None:
    (job_id,) = submit_job(farm)
    planner = scheduler(farm)
    made = plan(planner._keeper.refresh(), planner._keeper.now, Policy())
    with farm.database.transaction() as tx:
        hold(tx, farm.principal, encode_job_id(job_id))
    assert schedule.commit(farm.database, farm.lease, planner._keeper, made.starts) == 0
    assert planner.step() == 0
    with farm.database.transaction() as tx:
        release(tx, farm.principal, encode_job_id(job_id))
    assert planner.step() == 1


def test_a_node_that_vanished_between_plan_and_commit_gets_nothing(farm: World) -> None:
    submit_job(farm, 16)
    planner = scheduler(farm)
    made = plan(planner._keeper.refresh(), planner._keeper.now, Policy())
    farm.sync(farm.agents[0], nodes=[node("c0-n2", gpu=2000)], complete=True)
    assert schedule.commit(farm.database, farm.lease, planner._keeper, made.starts) == 12
    assert run_dry(planner.step) == 0
    names = rows(farm, "select distinct n.name from attempts a join nodes n on n.id = (a.placement -> 0 ->> 'node')::bigint order by 1")
    assert [row["name"] for row in names] == ["c0-n2", "c1-n1", "c1-n2"]
    same_as_loaded(farm, planner._keeper)


def test_nothing_is_placed_where_the_lease_ran_out(farm: World) -> None:
    planner = scheduler(farm)
    planner.step()
    for agent in farm.agents:
        farm.silence(agent)
    (job_id,) = submit_job(farm)
    assert run_dry(planner.step) == 0
    farm.settle()
    farm.sync(farm.agents[1], epoch=None)
    assert run_dry(planner.step) == 1
    assert farm.attempt(farm.live(job_id)[0])["cluster_id"] == farm.agents[1].cluster_id


def test_a_lease_that_ran_out_between_plan_and_commit_refuses_the_start(farm: World) -> None:
    submit_job(farm)
    keeper = SnapshotKeeper(farm.database)
    made = plan(keeper.refresh(), keeper.now, Policy())
    for agent in farm.agents:
        farm.silence(agent)
    assert schedule.commit(farm.database, farm.lease, keeper, made.starts) == 0


def test_a_cordoned_node_gets_nothing_new(farm: World) -> None:
    planner = scheduler(farm)
    planner.step()
    with farm.database.transaction() as tx:
        for cluster, name in (("c0", "c0-n1"), ("c0", "c0-n2"), ("c1", "c1-n1")):
            set_cordon(tx, farm.principal, cluster, name, cordoned=True)
    submit_job(farm, 8)
    assert run_dry(planner.step) == 4
    same_as_loaded(farm, planner._keeper)


def test_a_queue_stays_below_its_quota(farm: World) -> None:
    planner = scheduler(farm)
    planner.step()
    with farm.database.transaction() as tx:
        change_queue(tx, farm.principal, "main", QueueChange.model_validate({"resource_quota": {"cpu": 3}}))
    submit_job(farm, 5)
    assert run_dry(planner.step) == 3


def test_an_open_transaction_elsewhere_delays_nothing_and_is_not_missed(farm: World) -> None:
    """docs/concepts/scheduling.md#following"""
    planner = scheduler(farm)
    planner.step()
    with psycopg.connect(farm.database.url) as slow:
        slow.execute("select pg_current_xact_id()")
        (quick,) = submit_job(farm)
        assert planner.step() == 1
        assert len(farm.live(quick)) == 1
        late = slow.execute(
            """
            insert into jobs (project_id, queue_id, submitter_id, name, spec, state, priority, element_count, pending, pending_count)
            select project_id, queue_id, submitter_id, 'late', spec, 'queued', priority, 1, '{[0,1)}', 1 from jobs where id = %s
            returning id
            """,
            (quick,),
        ).fetchone()
        assert late is not None
        slow.execute(
            "insert into events (kind, scope_path, job_id, object, actor) values ('job.submitted', 'home/main/main', %s, 'job/x', 'x')",
            late,
        )
        for _ in range(3):
            submit_job(farm)
            assert planner.step() == 1
        slow.commit()
    assert planner.step() == 1
    assert len(farm.live(late[0])) == 1
    same_as_loaded(farm, planner._keeper)


def test_a_retried_element_gets_the_next_number_and_avoids_the_node_that_failed_it(farm: World) -> None:
    (job_id,) = submit_job(farm, retry={"attempts": 3, "on": ["infrastructure"], "backoff": "1s"})
    planner = scheduler(farm)
    assert planner.step() == 1
    first = farm.attempt(farm.live(job_id)[0])
    farm.sync(farm.agents[0])
    farm.run_to((job_id, 0, 1), 1, reason="disk_full")
    farm.make_due()
    farm.settle()
    assert run_dry(planner.step) == 1
    (key,) = farm.live(job_id)
    assert key == (job_id, 0, 2)
    assert farm.attempt(key)["placement"][0]["node"] != first["placement"][0]["node"]
    same_as_loaded(farm, planner._keeper)
