"""Whom a plan stops for others, on real PostgreSQL: docs/concepts/preemption.md#notice"""

from __future__ import annotations

from typing import Any

import pytest

from bushel.control.explain import explain
from bushel.control.preemption import evict, live_policy
from bushel.control.schedule import Scheduler
from bushel.domain.errors import InvalidDocument, StaleEpoch
from bushel.scheduling.plan import Plan, Policy, plan
from bushel.store import leases as leader
from bushel.store.database import Database
from tests.control.farm import make_farm, over_committed, rows, run_dry, same_as_loaded, submit_job
from tests.control.lifecycle_world import World, task


@pytest.fixture
def farm(database: Database) -> World:
    """16 CPUs; queue `owner` is guaranteed 8 of them and lends them to `main`."""
    farm = make_farm(database)
    with database.transaction() as tx:
        tx.execute(
            """
            insert into queues (name, scope_id, weight, guarantee)
            select 'owner', scope_id, 0, '{"cpu": 8000, "memory": 17179869184}' from queues where name = 'main'
            """
        )
    return farm


def owner_job(farm: World, count: int = 1, **document: Any) -> list[int]:
    """Jobs of the queue that lends."""
    ids = submit_job(farm, count, **document)
    with farm.database.transaction() as tx:
        tx.execute("update jobs set queue_id = (select id from queues where name = 'owner') where id = any(%s)", (ids,))
    return ids


def began(farm: World, job_id: int, seconds: float) -> None:
    """Let a job's live attempts be older than they are."""
    with farm.database.transaction() as tx:
        tx.execute(
            "update attempts set created_at = now() - make_interval(secs => %s) where job_id = %s and state <> 'ended'", (seconds, job_id)
        )


def planner(farm: World, **policy: Any) -> Scheduler:
    """One that has not planned anything yet."""
    return Scheduler(farm.database, farm.lease, Policy(reclaim=True, **policy))


def planned(scheduler: Scheduler) -> Plan:
    keeper = scheduler._keeper
    return plan(keeper.refresh(), keeper.now, scheduler._policy)


def stopping(farm: World) -> list[int]:
    return [row["job_id"] for row in rows(farm, "select job_id from attempts where state = 'stopping' order by job_id")]


def all_lent(farm: World, count: int = 4, **document: Any) -> list[int]:
    """`main` runs on everything, the first job for longest."""
    jobs = submit_job(farm, count, **({"resources": {"cpu": 4, "memory": "1GiB"}} | document))
    assert run_dry(planner(farm).step) == count
    for number, job_id in enumerate(jobs):
        began(farm, job_id, 1000.0 - 100 * number)
    return jobs


def lent_by_two(farm: World) -> list[int]:
    """`main` and another queue run on everything, and each has one job more than it is entitled to: the second and the fourth."""
    with farm.database.transaction() as tx:
        tx.execute("insert into queues (name, scope_id) select 'other', scope_id from queues where name = 'main'")
    jobs = submit_job(farm, 4, resources={"cpu": 4, "memory": "1GiB"})
    with farm.database.transaction() as tx:
        tx.execute("update jobs set queue_id = (select id from queues where name = 'other') where id = any(%s)", (jobs[2:],))
    assert run_dry(planner(farm).step) == 4
    for number, job_id in enumerate(jobs):
        began(farm, job_id, 1000.0 - 100 * number)
    return jobs


def test_a_guarantee_is_given_back_by_those_who_lose_least_and_no_more(farm: World) -> None:
    lent = all_lent(farm)
    (claimant,) = owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    scheduler = planner(farm)
    assert scheduler.step() == 1
    assert stopping(farm) == [lent[3]], "the youngest, and nobody else"
    assert [scheduler.step() for _ in range(3)] == [0, 0, 0], "nobody is stopped twice for one claim"
    same_as_loaded(farm, scheduler._keeper)
    key = farm.live(lent[3])[0]
    agent = next(number for number, agent in enumerate(farm.agents) if agent.cluster_id == farm.attempt(key)["cluster_id"])
    farm.run_to(key, 143, agent)
    assert run_dry(scheduler.step) == 1
    assert len(farm.live(claimant)) == 1, "the place goes to whom it was freed for"
    assert farm.live(lent[3]) == []
    assert (farm.job(lent[3])["state"], farm.attempt(key)["outcome"]) == ("queued", "preempted")
    assert over_committed(farm) == []
    same_as_loaded(farm, scheduler._keeper)


def test_everybody_is_told_who_was_stopped_why_and_for_whom(farm: World) -> None:
    """docs/concepts/preemption.md#told"""
    lent = all_lent(farm, preemption={"grace": "7s", "notice": "SIGUSR1"})
    (claimant,) = owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    planner(farm).step()
    (told,) = [body for body in farm.told(lent[3]) if body.get("state") == "stopping" and "attempt" in body]
    said = f"queue owner takes back what it is entitled to, for job {farm.text(claimant)}"
    assert (told["reason"], told["why"], told["for_queue"], told["message"]) == ("preempted", "reclaim", "owner", said)
    assert told["for_job"] == farm.text(claimant)
    assert 700 <= told["lost_seconds"] < 760
    assert (farm.job(lent[3])["reason"], farm.job(lent[3])["message"]) == ("preempted", said)
    key = farm.live(lent[3])[0]
    agent = next(agent for agent in farm.agents if agent.cluster_id == farm.attempt(key)["cluster_id"])
    (wanted,) = [one for one in farm.sync(agent)["attempts"] if one["stop"]]
    assert wanted["stop"] == {"reason": "preempted", "grace_seconds": 7.0}, "the grace that its job asks for"
    farm.sync(agent, agent.report(key, "ended", task(exit_code=143)))
    assert farm.attempt(key)["message"] == said
    assert farm.job(lent[3])["message"] == f"attempt 1 preempted: {said}"


def test_the_job_that_it_is_for_is_told_what_is_done_for_it(farm: World) -> None:
    """docs/concepts/preemption.md#told"""
    all_lent(farm)
    (claimant,) = owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    before = {one["code"]: one["sentence"] for one in explain(farm.database, farm.principal, farm.text(claimant))["reasons"]}
    assert before["preempts"] == "1 job will be told to stop for it"
    planner(farm).step()
    after = {one["code"]: one["sentence"] for one in explain(farm.database, farm.principal, farm.text(claimant))["reasons"]}
    assert after["stopping_for_it"] == "1 element there has been told to stop"
    assert "preempts" not in after


def test_a_gang_stops_whole(farm: World) -> None:
    (gang,) = all_lent(farm, 1, nodes=2, resources={"cpu": 4, "memory": "1GiB"})
    (other,) = submit_job(farm, nodes=2, resources={"cpu": 4, "memory": "1GiB"})
    assert run_dry(planner(farm).step) == 1
    began(farm, other, 100.0)
    owner_job(farm, resources={"cpu": 1, "memory": "1GiB"})
    assert planner(farm).step() == 1
    assert stopping(farm) == [other]
    assert len(farm.live(gang)) == 1


def test_the_last_checkpoint_decides_what_is_lost(farm: World) -> None:
    """docs/concepts/preemption.md#order"""
    lent = lent_by_two(farm)
    scheduler = planner(farm)
    scheduler.step()
    key = farm.live(lent[1])[0]
    agent = next(agent for agent in farm.agents if agent.cluster_id == farm.attempt(key)["cluster_id"])
    progress = {"done": 40, "checkpoint": {"uri": "/save/4", "step": 4}}
    farm.sync(agent, agent.report(key, "running", task("running"), progress=progress))
    assert farm.kinds(lent[1])[-2:] == ["attempt.checkpoint", "job.running"]
    same_as_loaded(farm, scheduler._keeper)
    owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    assert run_dry(scheduler.step) == 1
    assert stopping(farm) == [lent[1]], "it saved its work a moment ago, though it is older than the other"
    farm.sync(agent, agent.report(key, "ended", task(exit_code=143), progress=progress))
    assert rows(farm, "select resume_from, preemptions from retries") == [{"resume_from": "/save/4", "preemptions": 1}]


def test_checkpoints_that_follow_closely_are_told_of_once(farm: World) -> None:
    (job_id,) = submit_job(farm)
    run_dry(planner(farm).step)
    key = farm.live(job_id)[0]
    agent = next(agent for agent in farm.agents if agent.cluster_id == farm.attempt(key)["cluster_id"])
    for step in range(5):
        progress = {"checkpoint": {"uri": f"/save/{step}", "step": step}}
        farm.sync(agent, agent.report(key, "running", task("running"), progress=progress))
    assert farm.kinds(job_id).count("attempt.checkpoint") == 1
    assert farm.attempt(key)["progress"]["checkpoint"]["step"] == 4


@pytest.mark.parametrize("retry", ["{attempts}", "{on}"])
def test_who_may_not_run_again_is_not_stopped(farm: World, retry: str) -> None:
    """docs/concepts/preemption.md#limits"""
    lent = lent_by_two(farm)
    with farm.database.transaction() as tx:
        value = {"{attempts}": "1", "{on}": '["infrastructure"]'}[retry]
        tx.execute("update jobs set spec = jsonb_set(spec, %s, %s) where id = %s", (retry.replace("{", "{retry,"), value, lent[3]))
    owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    run_dry(planner(farm).step)
    assert stopping(farm) == [lent[1]]


def test_an_element_is_stopped_so_often_and_no_more(farm: World) -> None:
    """docs/concepts/preemption.md#limits"""
    lent = lent_by_two(farm)
    with farm.database.transaction() as tx:
        tx.execute("insert into retries (job_id, index, attempts, preemptions) values (%s, 0, 2, 2)", (lent[3],))
    owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    run_dry(planner(farm, preemptions_limit=2).step)
    assert stopping(farm) == [lent[1]]


def test_a_second_attempt_knows_how_often_the_first_ones_were_stopped(farm: World) -> None:
    (job_id,) = submit_job(farm)
    scheduler = planner(farm)
    run_dry(scheduler.step)
    key = farm.live(job_id)[0]
    agent = next(number for number, agent in enumerate(farm.agents) if agent.cluster_id == farm.attempt(key)["cluster_id"])
    farm.preempt(key)
    farm.run_to(key, 143, agent)
    assert run_dry(scheduler.step) == 1
    assert [attempt.preemptions for attempt in scheduler._keeper.snapshot.fleet.attempts.values()] == [1]
    same_as_loaded(farm, scheduler._keeper)


def test_nobody_is_stopped_for_a_job_that_went_away_between_plan_and_commit(farm: World) -> None:
    """docs/concepts/preemption.md#together"""
    all_lent(farm)
    (claimant,) = owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    scheduler = planner(farm)
    made = planned(scheduler)
    assert len(made.evictions) == 1
    farm.cancel(claimant)
    assert evict(farm.database, farm.lease, scheduler._keeper, made.evictions) == 0
    assert stopping(farm) == []


def test_when_one_of_several_has_ended_since_the_plan_the_others_go_on(farm: World) -> None:
    """docs/concepts/preemption.md#together"""
    lent = all_lent(farm)
    (claimant,) = owner_job(farm, array="0-1", resources={"cpu": 4, "memory": "1GiB"})
    scheduler = planner(farm)
    made = planned(scheduler)
    victims = sorted(eviction.job_id for eviction in made.evictions)
    assert len(victims) == 2
    key = farm.live(victims[1])[0]
    farm.run_to(key, 0, next(number for number, agent in enumerate(farm.agents) if agent.cluster_id == farm.attempt(key)["cluster_id"]))
    assert evict(farm.database, farm.lease, scheduler._keeper, made.evictions) == 0
    assert run_dry(scheduler.step) == 2, "one starts where that was, and the next plan finds that one more is enough"
    assert len(stopping(farm)) == 1
    for job_id in stopping(farm):
        key = farm.live(job_id)[0]
        farm.run_to(key, 143, next(n for n, agent in enumerate(farm.agents) if agent.cluster_id == farm.attempt(key)["cluster_id"]))
    assert run_dry(scheduler.step) == 1
    assert len(farm.live(claimant)) == 2
    assert sum(len(farm.live(job_id)) for job_id in lent) == 2


def test_a_scheduler_that_was_overtaken_stops_nobody(farm: World) -> None:
    all_lent(farm)
    owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    scheduler = planner(farm)
    with farm.database.transaction() as tx:
        tx.execute("update leases set expires_at = '-infinity'")
        assert leader.acquire(tx, "control", "another", 600.0) is not None
    with pytest.raises(StaleEpoch):
        scheduler.step()
    assert stopping(farm) == []


def test_the_next_leader_goes_on_where_the_last_one_stopped(farm: World) -> None:
    """It knows nothing but what the database holds, and stops nobody else for the same claim: docs/concepts/preemption.md#once"""
    all_lent(farm)
    owner_job(farm, 2, resources={"cpu": 4, "memory": "1GiB"})
    assert planner(farm).step() == 2
    before = stopping(farm)
    assert run_dry(planner(farm).step) == 0
    assert stopping(farm) == before


def test_an_agent_that_is_lost_during_the_notice_gives_the_place_up_with_its_lease(farm: World) -> None:
    lent = all_lent(farm)
    (claimant,) = owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    scheduler = planner(farm)
    assert scheduler.step() == 1
    key = farm.live(lent[3])[0]
    agent = next(agent for agent in farm.agents if agent.cluster_id == farm.attempt(key)["cluster_id"])
    farm.silence(agent)
    run_dry(scheduler.step)
    assert farm.live(claimant) == [] or farm.attempt(farm.live(claimant)[0])["cluster_id"] != agent.cluster_id
    farm.settle()
    assert farm.attempt(key)["outcome"] == "lost"
    run_dry(scheduler.step)
    assert over_committed(farm) == []
    same_as_loaded(farm, scheduler._keeper)


def test_a_higher_priority_goes_before_a_lower_one_of_its_own_queue(farm: World) -> None:
    """docs/concepts/preemption.md#priority"""
    with farm.database.transaction() as tx:
        tx.execute("delete from queues where name = 'owner'")
    low = all_lent(farm, priority=200)
    (high,) = submit_job(farm, priority=500, resources={"cpu": 4, "memory": "1GiB"})
    scheduler = planner(farm)
    assert scheduler.step() == 1
    assert stopping(farm) == [low[3]]
    told = farm.told(low[3])[-1]
    assert told["message"] == f"job {farm.text(high)} of the same queue main has a higher priority"


def test_the_setting_that_stops_nobody(farm: World) -> None:
    """docs/concepts/preemption.md#setting"""
    all_lent(farm)
    owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    scheduler = Scheduler(farm.database, farm.lease, live_policy(environment={"BUSHEL_RECLAIM": "off"}))
    assert scheduler.step() == 0
    assert stopping(farm) == []
    assert live_policy(environment={}).reclaim
    with pytest.raises(InvalidDocument, match="BUSHEL_RECLAIM"):
        live_policy(environment={"BUSHEL_RECLAIM": "perhaps"})
    with pytest.raises(InvalidDocument, match=r"BUSHEL_LEAST_RUN.*not a duration"):
        live_policy(environment={"BUSHEL_LEAST_RUN": "soon"})


def test_nobody_is_stopped_before_its_least_run_and_then_without_a_change(farm: World) -> None:
    """docs/concepts/preemption.md#limits"""
    lent = all_lent(farm)
    owner_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    scheduler = Scheduler(farm.database, farm.lease, live_policy(environment={"BUSHEL_LEAST_RUN": "15m"}))
    assert scheduler.step() == 0, "the only one beyond what its queue is entitled to has run for 700 s"
    assert scheduler._revisit_at_seconds is not None
    assert 190 < scheduler._revisit_at_seconds - scheduler._keeper.now.timestamp() <= 200, "then it is looked at again"
    for number, job_id in enumerate(lent):
        began(farm, job_id, 1201.0 - 100 * number)
    assert Scheduler(farm.database, farm.lease, live_policy(environment={"BUSHEL_LEAST_RUN": "15m"})).step() == 1
    assert stopping(farm) == [lent[3]]


def test_what_was_freed_is_not_taken_by_the_lender_again(farm: World) -> None:
    """docs/concepts/preemption.md#once"""
    lent = all_lent(farm)
    waiting = submit_job(farm, 4, resources={"cpu": 4, "memory": "1GiB"})
    claimants = owner_job(farm, 2, resources={"cpu": 4, "memory": "1GiB"})
    scheduler = planner(farm)
    assert scheduler.step() == 2
    for job_id in stopping(farm):
        key = farm.live(job_id)[0]
        farm.run_to(key, 143, next(n for n, agent in enumerate(farm.agents) if agent.cluster_id == farm.attempt(key)["cluster_id"]))
        assert scheduler.step() == 1
    assert [len(farm.live(job_id)) for job_id in claimants] == [1, 1]
    assert [len(farm.live(job_id)) for job_id in lent + waiting] == [1, 1, 0, 0, 0, 0, 0, 0]
    assert run_dry(scheduler.step) == 0
    assert stopping(farm) == []
