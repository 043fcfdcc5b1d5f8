"""Jobs that wait for other jobs."""

from __future__ import annotations

import pytest

from tests.control.lifecycle_world import World


@pytest.mark.parametrize(
    ("condition", "exit_code", "state"),
    [
        ("success", 0, "queued"),
        ("success", 1, "cancelled"),
        ("failure", 0, "cancelled"),
        ("failure", 1, "queued"),
        ("end", 0, "queued"),
        ("end", 1, "queued"),
    ],
)
def test_a_condition_is_met_or_broken_by_the_end_it_names(world: World, condition: str, exit_code: int, state: str) -> None:
    first = world.submit()
    second = world.submit(after=[(first, condition)])
    assert world.place(second) == []
    world.run_to(world.place(first)[0], exit_code)
    world.settle()
    row = world.job(second)
    assert row["state"] == state
    if state == "cancelled":
        assert row["reason"] == "dependency_failed"
    else:
        assert row["unmet"] == 0


def test_a_cancelled_job_counts_as_not_succeeded(world: World) -> None:
    first = world.submit()
    failure, success = world.submit(after=[(first, "failure")]), world.submit(after=[(first, "success")])
    world.cancel(first)
    world.settle()
    assert (world.job(failure)["state"], world.job(success)["state"]) == ("queued", "cancelled")


def test_every_condition_must_hold(world: World) -> None:
    one, two = world.submit(), world.submit()
    both = world.submit(after=[(one, "success"), (two, "end")])
    world.run_to(world.place(one)[0], 0)
    world.settle()
    assert (world.job(both)["state"], world.job(both)["unmet"]) == ("held", 1)
    world.run_to(world.place(two)[0], 1)
    world.settle()
    assert world.job(both)["state"] == "queued"


def test_a_users_hold_outlasts_the_dependency(world: World) -> None:
    first = world.submit()
    second = world.submit(after=[(first, "success")], held=True)
    world.run_to(world.place(first)[0], 0)
    world.settle()
    assert (world.job(second)["state"], world.job(second)["unmet"]) == ("held", 0)


def test_a_broken_chain_is_cancelled_to_its_end_whatever_its_length(world: World) -> None:
    chain = [world.submit()]
    for _ in range(60):
        chain.append(world.submit(after=[(chain[-1], "success")]))
    world.cancel(chain[0])
    world.settle()
    assert {world.job(job)["state"] for job in chain} == {"cancelled"}


def test_a_job_that_waits_for_one_that_ended_long_ago_is_told(world: World) -> None:
    first = world.submit()
    world.run_to(world.place(first)[0], 0)
    world.settle()
    second = world.submit(after=[(first, "success")])
    world.settle()
    assert world.job(second)["state"] == "queued"
