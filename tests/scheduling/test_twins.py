"""What a plan keeps for the next one, and what is compiled of it, decides nothing: docs/concepts/scheduling.md#snapshot"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bushel.domain.job import GroupShape
from bushel.domain.resources import ResourceRequest
from bushel.scheduling.entities import Cluster, Node, Queue
from bushel.scheduling.kernels.mode import compiled_forms, using
from bushel.scheduling.kernels.rehearsal import rehearse
from bushel.scheduling.kernels.rows import catch_up, has_model, key_of
from bushel.scheduling.kernels.tables import BLOCK, LAST_CHOICE, NEVER
from bushel.scheduling.packing.value import POINTS
from bushel.scheduling.plan import Plan, Policy, plan
from bushel.scheduling.workspace import Workspace
from tests.scheduling.test_plan import change_something
from tests.scheduling.worlds import NOW, POLICY, World, fleet, group, job, shape, tight_worlds, worlds


def same(one: Plan, other: Plan) -> None:
    assert one.starts == other.starts
    assert sorted(map(str, one.waiting)) == sorted(map(str, other.waiting))
    assert (one.kept_free, one.revisit_at_seconds, one.complete) == (other.kept_free, other.revisit_at_seconds, other.complete)


@given(worlds() | tight_worlds(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_plan_that_goes_on_from_the_last_is_the_plan_from_scratch(world: World, data: st.DataObject) -> None:
    snapshot = world.snapshot()
    kinds = [record.shape for record in world.jobs.values()] or [shape()]
    for _ in range(data.draw(st.integers(1, 5))):
        plan(snapshot, NOW, POLICY)
        change_something(world, snapshot, kinds, data)
    kept = plan(snapshot, NOW, POLICY)
    free = kept.room.free.copy()
    snapshot.workspace = Workspace()
    same(kept, plan(snapshot, NOW, POLICY))
    same(kept, world.plan())
    assert np.array_equal(free, kept.room.free), "an earlier plan's room changed with a later plan"


@given(worlds())
@settings(max_examples=40, deadline=None)
def test_the_kept_keys_are_those_of_the_nodes_and_the_least_of_each_block_is_known(world: World) -> None:
    snapshot = world.snapshot()
    plan(snapshot, NOW, POLICY)
    plan(snapshot, NOW, POLICY)
    rows, nodes, ways = snapshot.workspace.rows(), snapshot.workspace.nodes, snapshot.workspace.ways.table
    log, state = snapshot.workspace.log, snapshot.workspace.state
    for slot, at in zip(*np.nonzero(rows.seen >= 0), strict=True):
        way = int(rows.way[slot])
        catch_up(nodes, ways, rows, log, state, way, slot, at)
        for block in range(rows.first_block[at], rows.first_block[at + 1]):
            there = [int(row) for row in rows.row_at[block * BLOCK : (block + 1) * BLOCK] if row >= 0]
            keys = [(key_of(nodes, ways, rows, way, row), int(nodes.tie[row]), row) for row in there]
            assert [int(key) for key in rows.keys[slot, nodes.place[there]]] == [key for key, _, _ in keys]
            best = min(keys, default=(NEVER, 0, -1))
            assert (rows.best_key[slot, block], rows.best_row[slot, block]) == (best[0], best[2] if best[0] < NEVER else -1)


@given(worlds())
@settings(max_examples=40, deadline=None)
def test_work_without_accelerators_costs_more_on_every_node_that_has_some(world: World) -> None:
    """So these are not looked at where another will do."""
    space = world.plan().snapshot.workspace
    for way in np.flatnonzero(space.ways.table.model[: space.ways.count] < 0).tolist():
        for row in np.flatnonzero(space.nodes.place >= 0).tolist():
            key = key_of(space.nodes, space.ways.table, space.rows(), way, row)
            assert key == NEVER or key >= LAST_CHOICE or (key >= POINTS) == (space.nodes.model[row] >= 0)


@given(worlds(), st.data())
@settings(max_examples=40, deadline=None)
def test_each_node_has_one_place_among_those_of_its_models(world: World, data: st.DataObject) -> None:
    snapshot = world.snapshot()
    kinds = [record.shape for record in world.jobs.values()] or [shape()]
    for _ in range(data.draw(st.integers(1, 4))):
        plan(snapshot, NOW, POLICY)
        change_something(world, snapshot, kinds, data)
    plan(snapshot, NOW, POLICY)
    rows, nodes = snapshot.workspace.rows(), snapshot.workspace.nodes
    known = sorted(snapshot.fleet.row_of.values())
    assert rows.row_at[nodes.place[known]].tolist() == known
    for row in known:
        group = int(nodes.group[row])
        assert rows.first_block[group] <= nodes.place[row] // BLOCK < rows.first_block[group + 1]
        has = {model for model in range(len(nodes.counts)) if nodes.counts[model, row]}
        assert has <= {model for model in range(len(nodes.counts)) if has_model(rows, group, model)}
        assert (group == 0) == (not has)


@pytest.mark.slow
@pytest.mark.timeout(600)
@given(worlds() | tight_worlds())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_compiled_plan_is_the_plain_one(world: World) -> None:
    plain = world.plan()
    with using(compiled=True):
        same(plain, world.plan())


@pytest.mark.slow
@pytest.mark.timeout(600)
@given(worlds() | tight_worlds())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_once_rehearsed_no_plan_compiles_anything(world: World) -> None:
    rehearse()
    before = compiled_forms()
    with using(compiled=True):
        world.plan()
    assert compiled_forms() == before


def test_within_its_entitlement_goes_before_beyond_it() -> None:
    """docs/concepts/scheduling.md#order"""
    world = fleet({"cpu": 8000, "memory": 99})
    world.queues = {1: Queue(1, "a"), 2: Queue(2, "b")}
    world.jobs = {number: job(number, queue_id=1) for number in range(1, 7)}
    world.attempts = world.with_started(world.plan())
    world.jobs = {7: job(7, queue_id=1, priority=1000), 8: job(8, queue_id=2), 9: job(9, queue_id=2)}
    assert [start.job_id for start in world.plan().starts] == [8, 9]


def test_past_use_decides_between_equals() -> None:
    """docs/concepts/scheduling.md#order"""
    world = fleet({"cpu": 1000, "memory": 99})
    world.queues = {1: Queue(1, "a", history=({"cpu": 1e9}, NOW.timestamp())), 2: Queue(2, "b")}
    world.jobs = {number: job(number, shape(group(memory=10)), queue_id=number) for number in (1, 2)}
    assert [start.job_id for start in world.plan().starts] == [2]
    world.queues[1] = Queue(1, "a")
    assert [start.job_id for start in world.plan().starts] == [1]


def test_what_is_not_lent_is_kept_and_borrowing_has_a_bound() -> None:
    """docs/concepts/scheduling.md#quota"""
    world = fleet({"cpu": 8000, "memory": 99})
    world.queues = {
        1: Queue(1, "a", guarantee={"cpu": 3000}, lending={"cpu": 1000}),
        2: Queue(2, "b"),
        3: Queue(3, "c", guarantee={"cpu": 1000}, borrowing={"cpu": 1000}),
    }
    world.jobs = {number: job(number, queue_id=2) for number in range(1, 20)}
    assert len(world.plan().starts) == 6
    world.jobs = {number: job(number, queue_id=3) for number in range(1, 20)}
    assert len(world.plan().starts) == 2
    world.jobs = {number: job(number, queue_id=1) for number in range(1, 20)}
    assert len(world.plan().starts) == 8


def test_quarantine_probation_and_maintenance() -> None:
    """docs/concepts/scheduling.md#constraints"""
    now = NOW.timestamp()
    world = fleet(*[{"cpu": 2000, "memory": 9}] * 3)
    world.nodes[1] = replace(world.nodes[1], quarantined=True)
    world.nodes[2] = replace(world.nodes[2], probation=True)
    world.jobs = {number: job(number) for number in range(1, 9)}
    assert [start.runs[0].node_id for start in world.plan().starts] == [3, 3, 2, 2]
    world.jobs = {number: job(number, replace(shape(), retryable=False)) for number in range(1, 9)}
    assert Counter(start.runs[0].node_id for start in world.plan().starts) == {3: 2}
    world.nodes[3] = replace(world.nodes[3], maintenance=((now - 10, now + 60),))
    made = world.plan()
    assert not made.starts
    assert made.revisit_at_seconds == now + 60
    gang = shape(group(count=2, cpu=2000))
    world.nodes[3] = replace(world.nodes[3], maintenance=())
    world.jobs = {1: job(1, gang)}
    assert not world.plan().starts


def test_of_equal_nodes_the_cheaper_cluster_is_taken() -> None:
    """docs/concepts/scheduling.md#fit"""
    world = World({1: Cluster(1, "c1", "s1", price=2), 2: Cluster(2, "c2", "s2", price=1)}, queues={1: Queue(1, "q1")})
    world.nodes = {number: Node(number, number, f"n{number}", {"cpu": 2000, "memory": 9}) for number in (1, 2)}
    world.jobs = {1: job(1)}
    assert world.plan().starts[0].cluster_id == 2


def test_nodes_with_very_many_devices_are_served_too() -> None:
    world = fleet({"cpu": 99_000, "memory": 99, "gpu/H100": 100_000})
    request = ResourceRequest(1000, 1, 0, 80_000)
    world.jobs = {1: job(1, shape(GroupShape("main", 1, 1, request)))}
    (start,) = world.plan(Policy()).starts
    assert start.runs[0].devices == (tuple(range(80)),)
