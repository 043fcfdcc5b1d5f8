"""docs/concepts/preemption.md: who is stopped for whom, on random fleets and on cases one can see through."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.decisions import Eviction, EvictionReason
from bushel.scheduling.entities import LiveAttempt, Queue, ReadyJob, Run, ShapeClass
from bushel.scheduling.plan import Plan, Policy, plan
from tests.scheduling.worlds import NOW, World, fleet, group, job, shape

SECONDS = NOW.timestamp()
OFF = Policy(reclaim=False)
ON = Policy(reclaim=True)


def live(number: int, queue_id: int, *places: tuple[int, int], cpu: int = 1000, started: float = 600.0, **rest: object) -> LiveAttempt:
    """Runs on these nodes, so many tasks on each, and began `started` seconds ago."""
    runs, rank = [], 0
    for node, tasks in places:
        runs.append(Run("main", rank, rank + tasks, node, {"cpu": cpu, "memory": 1}))
        rank += tasks
    what = shape(group(count=rank, cpu=cpu))
    return LiveAttempt(number, 0, queue_id, tuple(runs), what, started_seconds=SECONDS - started, **rest)  # type: ignore[arg-type]


def two_queues(nodes: int, cpu: int = 4, *, guarantee: int | None = None) -> World:
    """Queue 1 lends, queue 2 is guaranteed `guarantee` CPUs; all if it is None."""
    world = fleet(*({"cpu": cpu * 1000, "memory": 100} for _ in range(nodes)))
    wanted = nodes * cpu if guarantee is None else guarantee
    world.queues = {1: Queue(1, "lender"), 2: Queue(2, "owner", weight=0, guarantee={"cpu": wanted * 1000, "memory": wanted})}
    return world


def run(world: World, *attempts: LiveAttempt) -> World:
    world.attempts = {(attempt.job_id, attempt.index): attempt for attempt in attempts}
    return world


def wait(world: World, *jobs: ReadyJob) -> World:
    world.jobs = {one.id: one for one in jobs}
    return world


def after(world: World, made: Plan, *, ended: bool, seconds: float = 30.0) -> World:
    """What the next plan sees: starts run, the evicted are stopping or, once they have ended, wait again."""
    attempts = world.with_started(made)
    jobs = dict(world.jobs)
    for start in made.starts:
        jobs.pop(start.job_id, None)
        attempts[start.job_id, start.index] = replace(
            attempts[start.job_id, start.index],
            shape=world.jobs[start.job_id].shape,
            priority=world.jobs[start.job_id].priority,
            started_seconds=SECONDS,
        )
    for key in [key for key, attempt in attempts.items() if attempt.stopping] if ended else []:
        jobs[key[0]] = _again(attempts.pop(key))
    for eviction in made.evictions:
        key = eviction.job_id, eviction.index
        if ended:
            jobs[eviction.job_id] = _again(attempts.pop(key))
        else:
            attempts[key] = replace(attempts[key], stopping=True)
    return World(world.clusters, world.nodes, world.queues, jobs, attempts)


def _again(attempt: LiveAttempt) -> ReadyJob:
    assert attempt.shape is not None
    return ReadyJob(attempt.job_id, attempt.queue_id, attempt.shape, attempt.priority, SECONDS - 1000.0)


def stopped(made: Plan) -> list[int]:
    return sorted(eviction.job_id for eviction in made.evictions)


# Cases one can see through ------------------------------------------------------------------------------------------------


def test_a_guarantee_is_met_in_one_round() -> None:
    """docs/concepts/preemption.md#guarantee"""
    world = two_queues(2, guarantee=4)
    run(world, live(1, 1, (1, 4)), live(2, 1, (2, 4), started=60.0))
    wait(world, job(10, shape(group(count=4, cpu=1000)), queue_id=2))
    made = world.plan(ON)
    assert list(made.evictions) == [Eviction(2, 0, EvictionReason.RECLAIM, 10, 2, 240.0)], "the one that loses the least"
    assert not made.starts
    assert [start.job_id for start in after(world, made, ended=True).plan(ON).starts] == [10], "the claimant, and nobody before it"


def test_many_single_tasks_get_their_guarantee_in_one_round() -> None:
    world = two_queues(4, guarantee=8)
    run(world, *(live(number, 1, (1 + number // 4, 1), started=100.0 + number) for number in range(16)))
    wait(world, *(job(100 + number, queue_id=2) for number in range(12)))
    made = world.plan(ON)
    assert stopped(made) == list(range(8)), "as many as the guarantee, the youngest, each for one"
    assert {eviction.for_queue_id for eviction in made.evictions} == {2}
    again = after(world, made, ended=True).plan(ON)
    assert len([start for start in again.starts if start.queue_id == 2]) == 8
    assert not again.evictions


def test_a_plan_stops_others_for_so_many_claims_and_the_next_goes_on() -> None:
    world = two_queues(4, guarantee=8)
    run(world, *(live(number, 1, (1 + number // 2, 2), started=100.0 + number) for number in range(8)))
    wait(world, *(job(100 + number, shape(group(count=2, cpu=1000)), queue_id=2) for number in range(4)))
    few = replace(ON, claims_limit=1)
    told = []
    for _ in range(5):
        made = world.plan(few)
        told.append(len(made.evictions))
        world = after(world, made, ended=False)
    assert told == [1, 1, 1, 1, 0], "one more claim each, and what stops already is kept for the earlier ones"


def test_nobody_within_its_entitlement_is_stopped() -> None:
    world = two_queues(2, guarantee=4)
    run(world, live(1, 1, (1, 4)), live(2, 2, (2, 4)))
    wait(world, job(10, queue_id=2), job(11, queue_id=1))
    assert not world.plan(ON).evictions


def test_whole_gangs_or_none() -> None:
    """docs/concepts/preemption.md#whole"""
    world = two_queues(2, guarantee=1)
    run(world, live(1, 1, (1, 4), (2, 4)))
    wait(world, job(10, queue_id=2))
    made = world.plan(ON)
    assert stopped(made) == [1]
    assert made.evictions[0].lost_seconds == 8 * 600.0


def test_the_nodes_where_the_least_is_lost_are_taken_for_a_gang() -> None:
    """Two nodes within one rack, although the youngest victims are in different ones."""
    world = two_queues(4, cpu=1)
    for number, node in world.nodes.items():
        world.nodes[number] = replace(node, topology=(("rack", f"r{(number + 1) // 2}"),))
    run(world, *(live(number, 1, (number, 1), started=started) for number, started in ((1, 10.0), (2, 900.0), (3, 300.0), (4, 200.0))))
    gang = shape(group(count=2), require="rack")
    wait(world, job(10, gang, queue_id=2), job(11, gang, queue_id=2))
    assert sorted(e.job_id for e in world.plan(ON).evictions if e.for_job_id == 10) == [3, 4]


def test_a_checkpoint_makes_a_victim_cheap() -> None:
    """docs/concepts/preemption.md#order"""
    world = two_queues(2, cpu=1)
    run(world, live(1, 1, (1, 1), started=5000.0, checkpoint_seconds=SECONDS - 5), live(2, 1, (2, 1), started=100.0))
    wait(world, job(10, queue_id=2, priority=501), job(11, queue_id=2))
    assert list(world.plan(ON).evictions)[:1] == [Eviction(1, 0, EvictionReason.RECLAIM, 10, 2, 5.0)]


def test_what_an_elastic_group_has_beyond_its_minimum_goes_first() -> None:
    """docs/concepts/preemption.md#elastic"""
    world = two_queues(2, cpu=2)
    grown = replace(live(1, 1, (1, 2), started=5000.0), shape=shape(group(count=2, least=1)))
    run(world, grown, live(2, 1, (2, 2), started=100.0))
    wait(world, job(10, shape(group(count=2)), queue_id=2), job(11, shape(group(count=2)), queue_id=2))
    assert [(e.job_id, e.reason) for e in world.plan(ON).evictions if e.for_job_id == 10] == [(1, EvictionReason.GROWTH)]


def test_a_claim_of_an_elastic_job_is_for_its_minimum() -> None:
    world = two_queues(4, cpu=1, guarantee=2)
    run(world, *(live(number, 1, (number, 1)) for number in range(1, 5)))
    wait(world, job(10, shape(group(count=4, least=2)), queue_id=2))
    assert len(world.plan(ON).evictions) == 2


def test_higher_priority_takes_from_lower_in_its_own_queue() -> None:
    """docs/concepts/preemption.md#priority"""
    world = two_queues(1)
    run(world, live(1, 1, (1, 4), priority=250))
    wait(world, job(10, queue_id=1, priority=750), job(11, queue_id=1, priority=250))
    assert [(e.job_id, e.reason, e.for_job_id) for e in world.plan(ON).evictions] == [(1, EvictionReason.PRIORITY, 10)]
    wait(world, job(11, queue_id=1, priority=250))
    assert not world.plan(ON).evictions


def test_minimum_run_time_is_honoured_and_the_plan_says_when_to_look_again() -> None:
    """docs/concepts/preemption.md#limits"""
    world = two_queues(1)
    run(world, live(1, 1, (1, 4), started=20.0, least_seconds=60.0))
    wait(world, job(10, queue_id=2))
    made = world.plan(ON)
    assert not made.evictions
    assert made.revisit_at_seconds == SECONDS + 40.0
    assert stopped(plan(world.snapshot(), NOW + timedelta(seconds=40), ON)) == [1]


def test_a_job_is_stopped_no_more_often_than_the_budget() -> None:
    """docs/concepts/preemption.md#limits"""
    world = two_queues(1)
    run(world, live(1, 1, (1, 4), preemptions=2))
    wait(world, job(10, queue_id=2))
    assert not world.plan(Policy(reclaim=True, preemptions_limit=2)).evictions
    assert stopped(world.plan(Policy(reclaim=True, preemptions_limit=3))) == [1]


def test_what_may_not_run_again_is_not_stopped() -> None:
    world = run(two_queues(1), live(1, 1, (1, 4), preemptible=False))
    wait(world, job(10, queue_id=2))
    assert not world.plan(ON).evictions


def test_it_can_be_switched_off() -> None:
    world = run(two_queues(1), live(1, 1, (1, 4)))
    wait(world, job(10, queue_id=2))
    assert stopped(world.plan(ON)) == [1]
    assert not world.plan(OFF).evictions


def test_what_stops_counts_as_coming_free_and_is_kept_for_the_claimant() -> None:
    """docs/concepts/preemption.md#once"""
    world = two_queues(2, guarantee=8)
    run(world, live(1, 1, (1, 4)), live(2, 1, (2, 4)))
    wait(world, job(10, shape(group(count=8)), queue_id=2))
    made = world.plan(ON)
    assert stopped(made) == [1, 2]
    halfway = after(world, made, ended=False)
    halfway.jobs[1] = _again(halfway.attempts.pop((1, 0)))  # the first has ended, the second takes longer
    halfway.jobs[20] = job(20, queue_id=1)
    again = halfway.plan(ON)
    assert not again.evictions
    assert not again.starts, "what came free is kept"


# Properties ---------------------------------------------------------------------------------------------------------------


@st.composite
def crowded(draw: st.DrawFn) -> World:
    """A small fleet in racks that is nearly full of elements of three queues, and elements that wait; guarantees fit the fleet."""
    nodes, cpu = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    world = fleet(*({"cpu": cpu * 1000, "memory": 100} for _ in range(nodes)))
    for number, node in world.nodes.items():
        world.nodes[number] = replace(node, topology=(("rack", f"r{number % 2}"),))
    left = nodes * cpu
    world.queues = {}
    for number in (1, 2, 3):
        guarantee = draw(st.integers(0, left))
        left -= guarantee
        weight = draw(st.sampled_from([1000, 1000, 3000, 0]))
        world.queues[number] = Queue(number, f"q{number}", None, weight, guarantee={"cpu": guarantee * 1000, "memory": guarantee})
    free = dict.fromkeys(world.nodes, cpu)
    for number in range(1, 9):
        places = []
        for node in draw(st.lists(st.sampled_from(sorted(free)), min_size=1, max_size=2, unique=True)):
            if tasks := draw(st.integers(0, free[node])):
                places.append((node, tasks))
                free[node] -= tasks
        if places:
            attempt = live(
                number,
                draw(st.integers(1, 3)),
                *places,
                started=float(draw(st.integers(1, 50))),
                priority=draw(st.sampled_from([500, 500, 250])),
                preemptions=draw(st.sampled_from([0, 0, 0, 10])),
                least_seconds=draw(st.sampled_from([0.0, 0.0, 20.0])),
            )
            world.attempts[number, 0] = attempt
    for number in range(20, 20 + draw(st.integers(1, 4))):
        count = draw(st.integers(1, 4))
        what = shape(group(count=count, least=draw(st.sampled_from([count, 1]))), require=draw(st.sampled_from([None, None, "rack"])))
        world.jobs[number] = job(number, what, queue_id=draw(st.integers(1, 3)), priority=draw(st.sampled_from([500, 500, 750])))
    return world


@given(crowded())
@settings(max_examples=40, deadline=None)
def test_limits_hold_and_nobody_is_named_twice(world: World) -> None:
    made = world.plan(ON)
    assert len({(e.job_id, e.index) for e in made.evictions}) == len(made.evictions)
    for eviction in made.evictions:
        attempt = world.attempts[eviction.job_id, eviction.index]
        assert attempt.preemptions < Policy().preemptions_limit
        assert SECONDS - attempt.started_seconds >= attempt.least_seconds
        assert eviction.for_job_id in world.jobs
        if eviction.for_queue_id == attempt.queue_id:
            assert world.jobs[eviction.for_job_id].priority > attempt.priority
    assert made.evictions == world.plan(ON).evictions


@given(crowded())
@settings(max_examples=40, deadline=None)
def test_reclaim_ends_and_no_plan_undoes_the_last(world: World) -> None:
    """docs/concepts/preemption.md#ends"""
    for _ in range(12):
        made = world.plan(ON)
        places = {(e.job_id, e.index): world.attempts[e.job_id, e.index].runs for e in made.evictions}
        following = after(world, made, ended=True)
        for start in following.plan(ON).starts:
            assert places.get((start.job_id, start.index)) != start.runs, "it was stopped and put back in the same place"
        if not made.evictions and not made.starts:
            return
        world = following
    pytest.fail("plans go on stopping and starting the same")


@given(crowded())
@settings(max_examples=30, deadline=None)
def test_nobody_else_is_stopped_while_victims_stop(world: World) -> None:
    """docs/concepts/preemption.md#once"""
    made = world.plan(ON)
    if made.evictions:
        claimants = {e.for_job_id for e in made.evictions}
        again = after(world, made, ended=False).plan(ON)
        assert not {e.for_job_id for e in again.evictions} & claimants


@given(crowded())
@settings(max_examples=30, deadline=None)
def test_victims_are_no_more_than_needed(world: World) -> None:
    """docs/concepts/preemption.md#least: with any smaller set gone, the claimants would not all fit."""
    made = world.plan(ON)
    claimants = sorted({e.for_job_id for e in made.evictions})
    if len(claimants) != 1 or len(world.jobs) != 1:
        world.jobs = {number: world.jobs[number] for number in claimants[:1]}
        made = world.plan(ON)
        if not made.evictions:
            return
    evicted = [(e.job_id, e.index) for e in made.evictions]

    def starts_without(gone: tuple[tuple[int, int], ...]) -> bool:
        left = {key: attempt for key, attempt in world.attempts.items() if key not in gone}
        (one,) = world.jobs.values()
        least = replace(one, shape=_least(one.shape))
        return bool(World(world.clusters, world.nodes, world.queues, {one.id: least}, left).plan(OFF).starts)

    assert starts_without(tuple(evicted))
    for size in range(len(evicted)):
        for some in combinations(evicted, size):
            assert not starts_without(some), f"{some} would have been enough of {evicted}"


def _least(what: ShapeClass) -> ShapeClass:
    return replace(what, groups=tuple(replace(one, count=one.min_count) for one in what.groups))


@given(crowded())
@settings(max_examples=30, deadline=None)
def test_a_claim_within_the_guarantee_is_met_in_one_round_where_victims_exist(world: World) -> None:
    """docs/concepts/preemption.md#guarantee"""
    for key, attempt in list(world.attempts.items()):
        world.attempts[key] = replace(attempt, queue_id=1, preemptions=0, least_seconds=0.0, priority=500)
    claimant = job(20, shape(), queue_id=2)
    world.jobs = {20: claimant}
    world.queues = {1: Queue(1, "q1"), 2: Queue(2, "q2", guarantee={"cpu": 1000, "memory": 1})}
    made = world.plan(ON)
    if not made.starts:
        assert made.evictions
        assert [start.job_id for start in after(world, made, ended=True).plan(ON).starts][:1] == [20]
