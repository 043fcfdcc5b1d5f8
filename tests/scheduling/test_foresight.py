"""docs/concepts/preemption.md: nobody is stopped whom the next plan would put back, also where the order of queues makes that hard."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from bushel.scheduling.decisions import EvictionReason
from bushel.scheduling.entities import Queue
from bushel.scheduling.plan import plan
from tests.scheduling.test_reclaim import ON, SECONDS, _again, after, crowded, live, run, stopped, wait
from tests.scheduling.worlds import NOW, World, fleet, group, job, shape


def three_nodes(*guarantees: int) -> World:
    world = fleet(*({"cpu": 1000, "memory": 100} for _ in range(3)))
    world.queues = {
        number: Queue(number, f"q{number}", guarantee={"cpu": amount * 1000, "memory": amount})
        for number, amount in enumerate(guarantees, start=1)
    }
    return world


def test_nobody_is_stopped_for_a_gang_beyond_its_entitlement_while_another_would_take_the_place() -> None:
    """docs/concepts/preemption.md#foresight"""
    world = run(three_nodes(0, 0, 1), live(4, 1, (1, 1), started=1.0), live(5, 1, (3, 1), started=1.0))
    wait(world, job(20, queue_id=2), job(21, shape(group(count=3)), queue_id=3))
    made = world.plan(ON)
    following = after(world, made, ended=True).plan(ON)
    assert not {start.job_id for start in following.starts} & set(stopped(made))


def test_what_is_within_its_entitlement_starts_although_a_gang_of_its_queue_is_blocked_before_it() -> None:
    world = run(three_nodes(0, 0, 0), live(1, 3, (1, 1), started=1.0), live(3, 3, (2, 1), started=1.0))
    wait(world, job(20, shape(group(count=3))), job(21), job(22, queue_id=2))
    made = world.plan(ON)
    started = {start.job_id for start in made.starts}
    assert started & {21, 22}
    following = after(world, made, ended=True).plan(ON)
    assert {21, 22} <= started | {start.job_id for start in following.starts}
    assert not {start.job_id for start in following.starts} & set(stopped(made))


@given(crowded())
@settings(max_examples=40, deadline=None)
def test_what_was_freed_is_kept_while_victims_end_one_by_one(world: World) -> None:
    """docs/concepts/preemption.md#once: whoever has ended for another queue does not go back to its place while others still stop."""
    made = world.plan(ON)
    if any(eviction.reason is EvictionReason.PRIORITY for eviction in made.evictions):
        return  # within a queue a smaller job may slip into what is freed bit by bit
    places = {(e.job_id, e.index): world.attempts[e.job_id, e.index].runs for e in made.evictions}
    halfway = after(world, made, ended=False)
    for key in list(places)[:-1]:
        halfway.jobs[key[0]] = _again(halfway.attempts.pop(key))
        for start in halfway.plan(ON).starts:
            assert places.get((start.job_id, start.index)) != start.runs


@given(crowded())
@settings(max_examples=30, deadline=None)
def test_a_snapshot_that_followed_stops_whom_a_fresh_one_stops(world: World) -> None:
    """docs/concepts/scheduling.md#snapshot"""
    snapshot = world.snapshot()
    for _ in range(3):
        made = plan(snapshot, NOW, ON)
        fresh = world.plan(ON)
        assert list(made.evictions) == list(fresh.evictions)
        assert list(made.reservations) == list(fresh.reservations)
        assert made.starts == fresh.starts
        following = after(world, made, ended=True)
        for key in world.attempts.keys() - following.attempts.keys():
            snapshot.remove_attempt(*key)
        for attempt in following.attempts.values():
            snapshot.put_attempt(attempt)
        snapshot.change_jobs(following.jobs.values(), world.jobs.keys() - following.jobs.keys())
        world = following


@given(crowded())
@settings(max_examples=30, deadline=None)
def test_looking_ahead_changes_nothing_in_the_snapshot(world: World) -> None:
    snapshot = world.snapshot()
    before = snapshot.contents()
    plan(snapshot, NOW, ON)
    assert snapshot.contents() == before


def test_an_array_of_which_one_index_is_stopped_waits_with_it_again() -> None:
    world = three_nodes(0, 3)
    one = live(5, 1, (1, 1), started=100.0)
    run(world, one, replace(one, index=1, runs=(replace(one.runs[0], node_id=2),), started_seconds=SECONDS - 50.0))
    world.jobs = {5: replace(job(5), pending=job(5).pending.of_indices([7]), startable=1), 10: job(10, shape(group(count=3)), queue_id=2)}
    made = world.plan(ON)
    assert {(eviction.job_id, eviction.index) for eviction in made.evictions} == {(5, 0), (5, 1)}
