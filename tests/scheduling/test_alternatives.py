"""docs/concepts/scheduling.md#reasons: what is said to start a job starts it, on random fleets and on cases one can see through."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.alternatives import Alternative, alternatives
from bushel.scheduling.entities import LiveAttempt, ReadyJob, Run
from bushel.scheduling.plan import Plan, Policy, plan
from tests.scheduling.worlds import NOW, World, fleet, group, job, shape, tight_worlds, worlds

SECONDS = NOW.timestamp()
ON = Policy(reclaim=True)
OFF = Policy()


def running(world: World) -> World:
    """What runs has begun at some time and is expected to end at another; every third is of low priority."""
    world.attempts = {
        key: replace(
            live,
            started_seconds=SECONDS - 60.0 * (1 + key[0] % 7),
            expected_seconds=None if key[0] % 5 == 0 else 1800.0 + key[0],
            priority=250 if key[0] % 3 == 0 else 500,
            shape=shape(group(cpu=1000)),
        )
        for key, live in world.attempts.items()
    }
    return world


def applied(world: World, one: Alternative) -> World:
    """The world as the change says, from its records."""
    trial = one.trial
    jobs = {**world.jobs, **({trial.job.id: trial.job} if trial.job else {})}
    queues = {**world.queues, **({trial.queue.id: trial.queue} if trial.queue else {})}
    gone = trial.ends.keys if trial.ends else ()
    attempts = {key: live for key, live in world.attempts.items() if key not in gone}
    return World(world.clusters, world.nodes, queues, jobs, attempts)


def when_stopped(world: World, made: Plan) -> World:
    """What the plan starts runs, and what it stops has ended and waits again."""
    attempts, jobs = world.with_started(made), dict(world.jobs)
    for start in made.starts:
        whole = jobs.get(start.job_id)
        if whole is not None:
            left = whole.pending - type(whole.pending).of_indices([start.index])
            jobs[start.job_id] = replace(whole, pending=left, startable=whole.startable - 1)
    for eviction in made.evictions:
        live = attempts.pop((eviction.job_id, eviction.index))
        assert live.shape is not None
        jobs.setdefault(eviction.job_id, ReadyJob(eviction.job_id, live.queue_id, live.shape, live.priority, SECONDS))
    jobs = {number: one for number, one in jobs.items() if one.startable > 0 and one.pending}
    return World(world.clusters, world.nodes, world.queues, jobs, attempts)


def check(world: World, policy: Policy) -> int:
    """How many ways were offered; each is tried on a world of its own, planned from scratch."""
    snapshot = world.snapshot()
    before = snapshot.contents()
    made = plan(snapshot, NOW, policy)
    offered = 0
    for waiting in [one for one in world.jobs.values() if one.id not in made.starting_jobs][:3]:
        for way in alternatives(made, waiting, NOW, policy):
            offered += 1
            changed = applied(world, way)
            after = changed.plan(policy)
            if waiting.id not in after.starting_jobs:
                assert way.evictions, f"{way.change} does not start {waiting.id}"
                assert [one for one in after.evictions if one.for_job_id == waiting.id] == list(way.evictions)
                assert waiting.id in when_stopped(changed, after).plan(policy).starting_jobs, f"{way.change} does not start {waiting.id}"
    assert snapshot.contents() == before, "asking has changed what was asked"
    return offered


@settings(max_examples=80, deadline=None)
@given(worlds().map(running), st.sampled_from([ON, OFF]))
def test_what_would_start_a_job_starts_it(world: World, policy: Policy) -> None:
    """docs/concepts/scheduling.md#reasons"""
    check(world, policy)


@settings(max_examples=40, deadline=None)
@given(tight_worlds().map(running))
def test_what_would_start_a_job_starts_it_under_quotas(world: World) -> None:
    """docs/concepts/scheduling.md#reasons"""
    check(world, ON)


def live(number: int, node: int, *, cpu: int = 4000, ends_in: float = 600.0, queue_id: int = 1, **rest: object) -> LiveAttempt:
    runs = (Run("main", 0, 1, node, {"cpu": cpu, "memory": 1}),)
    what = shape(group(cpu=cpu))
    return LiveAttempt(number, 0, queue_id, runs, what, started_seconds=SECONDS - 300, expected_seconds=300 + ends_in, **rest)  # type: ignore[arg-type]


def offered(world: World, policy: Policy = OFF) -> dict[str, Alternative]:
    made = world.plan(policy)
    (waiting,) = world.jobs.values()
    assert check(world, policy)
    return {way.change.what: way for way in alternatives(made, waiting, NOW, policy)}


def full(*attempts: LiveAttempt, nodes: int = 2) -> World:
    world = fleet(*({"cpu": 4000, "memory": 100} for _ in range(nodes)))
    world.attempts = {(one.job_id, one.index): one for one in attempts}
    return world


def test_the_nearest_end_that_makes_room_is_named() -> None:
    world = full(live(1, 1, ends_in=900.0), live(2, 2, cpu=2000, ends_in=720.0), live(3, 2, cpu=2000, ends_in=60.0))
    world.jobs = {9: job(9, shape(group(cpu=3000)))}
    way = offered(world)["ends"]
    assert (way.trial.ends.keys if way.trial.ends else None) == ((3, 0), (2, 0)), "both on the node, not the one on the other"
    assert way.seconds == 720.0


def test_a_quota_in_the_way_is_lifted_just_enough_or_waited_for() -> None:
    world = full(live(1, 1, cpu=2000, ends_in=120.0))
    world.queues[1] = replace(world.queues[1], quota={"cpu": 3000})
    world.jobs = {9: job(9, shape(group(cpu=2000)))}
    ways = offered(world)
    assert (ways["quota"].change.was, ways["quota"].change.now) == (3000, 4000)
    assert ways["ends"].change.now == 1


def test_priority_says_whom_it_stops_and_what_is_lost() -> None:
    world = full(live(1, 1, priority=250), live(2, 2))
    world.jobs = {9: job(9, shape(group(cpu=4000)), priority=250)}
    way = offered(world, ON)["priority"]
    assert [(one.job_id, one.lost_seconds) for one in way.evictions] == [(1, 300.0)]
    assert "priority" not in offered(world, OFF)
