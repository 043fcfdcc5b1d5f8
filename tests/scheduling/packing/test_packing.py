"""docs/concepts/packing.md: what is claimed of choices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from bushel.scheduling.kernels.mode import twin, using
from bushel.scheduling.packing.learning import learn
from bushel.scheduling.packing.rows import NOWHERE, Rows, State, best, key_of, make_rows, make_state, occupy, revalue, vacate
from bushel.scheduling.packing.tables import Tables
from bushel.scheduling.packing.value import node_value
from tests.scheduling.packing.reference import Node, taken, value, ways
from tests.scheduling.packing.worlds import DEVICES, MODELS, World, worlds


def prepared(world: World, preset: str) -> tuple[Tables, State, Rows]:
    tables: Tables = getattr(learn(world.demands, MODELS, DEVICES), preset)
    state = make_state(*world.arrays())
    rows = make_rows(world.classes, state)
    revalue(tables, state, rows)
    return tables, state, rows


def play(world: World, preset: str) -> tuple[list[tuple[int, int]], State]:
    """Every move, with whichever twin serves. Returns what each start got."""
    tables, state, rows = prepared(world, preset)
    running: list[tuple[int, int, int]] = []
    got: list[tuple[int, int]] = []
    for number, pick in world.moves:
        if number < 0:
            if running:
                twin(vacate)(tables, state, rows, *running.pop(pick % len(running)))
            continue
        row = int(twin(best)(tables, state, rows, number))
        devices = int(twin(occupy)(tables, state, rows, number, row)) if row >= 0 else 0
        got.append((row, devices))
        if row >= 0:
            running.append((number, row, devices))
    return got, state


@pytest.mark.parametrize("preset", ["fill", "steady"])
@given(world=worlds())
@settings(max_examples=40, deadline=None)
def test_compiled_and_plain_choose_the_same(preset: str, world: World) -> None:
    with using(compiled=False):
        plain, plain_state = play(world, preset)
    with using(compiled=True):
        compiled, compiled_state = play(world, preset)
    assert plain == compiled
    assert all(np.array_equal(one, other) for one, other in zip(plain_state, compiled_state, strict=True))


@pytest.mark.parametrize("preset", ["fill", "steady"])
@given(world=worlds(moves=30))
@settings(max_examples=40, deadline=None)
def test_kept_rows_choose_as_if_every_node_were_scored_anew(preset: str, world: World) -> None:
    tables, state, rows = prepared(world, preset)
    running: list[tuple[int, int, int]] = []
    for number, pick in world.moves:
        if number < 0:
            if running:
                vacate(tables, state, rows, *running.pop(pick % len(running)))
            continue
        fresh = make_state(state.nodes[:, 0], state.nodes[:, 1], state.devices, state.nodes[:, 4], state.nodes[:, 5])
        fresh_rows = make_rows(world.classes, fresh)
        fresh_rows.log_state[:] = rows.log_state
        revalue(tables, fresh, fresh_rows)
        assert np.array_equal(fresh.value, state.value)
        keys = [key_of(tables, fresh, fresh_rows, number, row) for row in range(len(world.nodes))]
        row = best(tables, state, rows, number)
        assert row == (keys.index(min(keys)) if min(keys) < NOWHERE else -1)
        if row >= 0:
            running.append((number, row, occupy(tables, state, rows, number, row)))


@given(world=worlds())
@settings(max_examples=60, deadline=None)
def test_nothing_is_promised_twice_and_nothing_that_fits_is_refused(world: World) -> None:
    with using(compiled=False):
        got, _ = play(world, "steady")
    nodes = [Node(cpu, memory, [1000] * count, model) for cpu, memory, count, model in world.nodes]
    running: list[tuple[int, int, tuple[int, ...]]] = []
    answers = iter(got)
    for number, pick in world.moves:
        if number < 0:
            if running:
                ended, row, way = running.pop(pick % len(running))
                nodes[row] = taken(world, ended, nodes[row], way, -1)
            continue
        row, bits = next(answers)
        if row < 0:
            assert not any(ways(world, number, node) for node in nodes), "a task was refused though it fits"
            continue
        way = tuple(device for device in range(DEVICES) if bits >> device & 1)
        assert way in ways(world, number, nodes[row]), "a task was put where it does not fit"
        nodes[row] = taken(world, number, nodes[row], way)
        running.append((number, row, way))


@given(world=worlds(moves=30))
@settings(max_examples=60, deadline=None)
def test_a_task_goes_where_the_completion_value_drops_least(world: World) -> None:
    """Within a quantum, and a task with devices: those without keep off the nodes that have some."""
    with using(compiled=False):
        got, _ = play(world, "fill")
    tables = learn(world.demands, MODELS, DEVICES).fill
    nodes = [Node(cpu, memory, [1000] * count, model) for cpu, memory, count, model in world.nodes]
    running: list[tuple[int, int, tuple[int, ...]]] = []
    answers = iter(got)
    for number, pick in world.moves:
        if number < 0:
            if running:
                ended, row, way = running.pop(pick % len(running))
                nodes[row] = taken(world, ended, nodes[row], way, -1)
            continue
        row, bits = next(answers)
        if row < 0:
            continue
        way = tuple(device for device in range(DEVICES) if bits >> device & 1)
        drops = [value(tables, node) - value(tables, taken(world, number, node, w)) for node in nodes for w in ways(world, number, node)]
        own = value(tables, nodes[row]) - value(tables, taken(world, number, nodes[row], way))
        if world.demands[number].volume:
            assert own <= min(drops) + tables.quantum + 1e-6
        nodes[row] = taken(world, number, nodes[row], way)
        running.append((number, row, way))


@given(world=worlds(moves=0))
@settings(max_examples=60, deadline=None)
def test_values_are_those_of_the_reference(world: World) -> None:
    tables, state, _ = prepared(world, "steady")
    for row, (cpu, memory, count, model) in enumerate(world.nodes):
        plain = value(tables, Node(cpu, memory, [1000] * count, model))
        assert node_value(tables, cpu, memory, state.devices[row], count, model) == pytest.approx(plain, abs=1e-6)


def test_without_accelerators_a_task_goes_where_least_is_left_over_then_to_the_first_node() -> None:
    state = make_state(
        np.array([16_000, 4_000, 4_000]), np.array([64, 16, 16]), np.zeros((3, 0)), np.zeros(3, np.int64), np.zeros(3, np.int64)
    )
    rows = make_rows(np.array([(2000, 8, 0, 0, 0)]), state)
    tables = learn((), 0, 0).steady
    revalue(tables, state, rows)
    rows_taken = []
    for _ in range(4):
        rows_taken.append(best(tables, state, rows, 0))
        occupy(tables, state, rows, 0, rows_taken[-1])
    assert rows_taken == [1, 1, 2, 2]


def test_work_without_accelerators_keeps_off_the_nodes_that_have_some() -> None:
    state = make_state(np.array([8_000, 64_000]), np.array([64, 640]), np.array([[1000], [0]]), np.array([1, 0]), np.zeros(2, np.int64))
    rows = make_rows(np.array([(2000, 8, 0, 0, 0)]), state)
    tables = learn((), 1, 1).steady
    revalue(tables, state, rows)
    assert best(tables, state, rows, 0) == 1
