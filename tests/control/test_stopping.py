"""Cancellation, and attempts that have to make room."""

from __future__ import annotations

import pytest

from bushel.control.cancel import cancel_job, cancel_matching, stop_attempts
from bushel.domain.errors import Forbidden, NotFound
from bushel.domain.lifecycle import Reason
from bushel.domain.permissions import Role
from bushel.domain.principal import Principal
from bushel.store.job_pages import JobFilter
from tests.control.lifecycle_world import World


def test_what_has_not_started_is_cancelled_at_once(world: World) -> None:
    queued, held, million = world.submit(), world.submit(held=True), world.submit(array="0-999999")
    for job in (queued, held, million):
        assert world.cancel(job)
        assert world.job(job)["state"] == "cancelled"
        assert world.job(job)["reason"] == "cancelled_by_user"
    assert world.job(million)["cancelled_count"] == 1_000_000
    assert world.results(million)["cancelled"] == "0-999999"


def test_cancelling_twice_changes_nothing_more(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    assert world.cancel(job)
    before = world.job(job), world.attempt(key), world.kinds(job)
    assert not world.cancel(job)
    assert (world.job(job), world.attempt(key), world.kinds(job)) == before


def test_a_running_attempt_is_told_to_stop_and_then_is_cancelled(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    agent = world.agents[0]
    world.sync(agent, agent.report(key, "running"))
    world.cancel(job)
    assert world.job(job)["state"] == "stopping"
    [wanted] = world.sync(agent)["attempts"]
    assert wanted["stop"] == {"reason": "cancelled_by_user", "grace_seconds": 30.0}
    world.sync(agent, agent.report(key, "running"))
    assert world.attempt(key)["state"] == "stopping"
    world.run_to(key, 143, reason="cancelled_by_user")
    row = world.job(job)
    assert (row["state"], row["reason"], row["message"]) == ("cancelled", "cancelled_by_user", "cancelled by admin")


def test_a_success_before_the_order_to_stop_arrived_stands(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    world.cancel(job)
    world.run_to(key, 0)
    assert world.job(job)["state"] == "succeeded"


@pytest.mark.parametrize("exit_code", [1, 75, 137])
def test_a_cancelled_element_is_never_tried_again(world: World, exit_code: int) -> None:
    job = world.submit(retry={"on": ["application", "infrastructure", "preempted", "unknown"]})
    [key] = world.place(job)
    world.cancel(job)
    world.run_to(key, exit_code)
    assert world.job(job)["state"] == "cancelled"
    assert world.attempt(key)["outcome"] == "cancelled"


def test_an_attempt_that_was_never_started_is_cancelled_by_its_agents_word(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    world.cancel(job)
    agent = world.agents[0]
    report = agent.report(key, "ended")
    world.sync(agent, report | {"tasks": []})
    assert world.job(job)["state"] == "cancelled"


def test_some_indices_of_an_array(world: World) -> None:
    job = world.submit(array="0-99")
    world.place(job, 10)
    world.cancel(job, "5-19")
    row = world.job(job)
    assert (row["state"], row["cancelled_count"], row["stopping_count"], row["starting_count"]) == ("running", 10, 5, 5)
    assert row["pending_text"] == "{[20,100)}"
    for key in world.live(job):
        world.run_to(key, 0 if key[1] < 5 else 143)
    assert world.results(job) == {"succeeded": "0-4", "failed": "", "cancelled": "5-19"}
    assert world.job(job)["state"] == "queued"


def test_what_waits_for_its_backoff_is_cancelled_too(world: World) -> None:
    job = world.submit(array="0-3", retry={"on": ["application"]})
    for key in world.place(job, 4):
        world.run_to(key, 1)
    assert world.job(job)["delayed_count"] == 4
    world.cancel(job, "1-2")
    assert (world.job(job)["delayed_count"], world.job(job)["cancelled_count"]) == (2, 2)
    world.make_due()
    world.settle()
    assert world.job(job)["pending_text"] == "{[0,1),[3,4)}"


def test_a_preempted_attempt_is_queued_again_and_costs_no_retry(world: World) -> None:
    job = world.submit(retry={"attempts": 2})
    for number in range(1, 5):
        [key] = world.place(job)
        assert key[2] == number
        with world.database.transaction() as tx:
            assert stop_attempts(tx, [key], Reason.PREEMPTED, 5.0, "scheduler") == 1
        world.run_to(key, 143)
        assert world.attempt(key)["outcome"] == "preempted"
        assert world.job(job)["state"] == "queued"


def test_cancelling_what_is_being_preempted_cancels_it(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    with world.database.transaction() as tx:
        stop_attempts(tx, [key], Reason.PREEMPTED, 5.0, "scheduler")
    world.cancel(job)
    world.run_to(key, 143)
    assert world.job(job)["state"] == "cancelled"


def test_everything_that_a_filter_selects(world: World) -> None:
    jobs = [world.submit() for _ in range(5)]
    done = world.submit()
    world.run_to(world.place(done)[0], 0)
    cancelled = cancel_matching(world.database, world.principal, JobFilter(project_ids=(world.project_id,)))
    assert (cancelled.jobs, cancelled.refused) == (5, 0)
    assert {world.job(job)["state"] for job in jobs} == {"cancelled"}
    assert world.job(done)["state"] == "succeeded"


def test_members_cancel_their_own_jobs_only(world: World) -> None:
    job = world.submit()
    member = Principal(77, "ada", "user", bindings={"home/main/main": Role.MEMBER})
    stranger = Principal(78, "eve", "user", bindings={"other": Role.ADMIN})
    with pytest.raises(Forbidden), world.database.transaction() as tx:
        cancel_job(tx, member, job)
    with pytest.raises(NotFound), world.database.transaction() as tx:
        cancel_job(tx, stranger, job)
    assert cancel_matching(world.database, member, JobFilter(project_ids=(world.project_id,))).refused == 1
    assert world.job(job)["state"] == "queued"


def test_a_cancellation_reaches_a_lost_cluster_too(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    world.cancel(job)
    world.silence(world.agents[0])
    world.settle()
    assert world.attempt(key)["outcome"] == "lost"
    assert world.job(job)["state"] == "cancelled"
