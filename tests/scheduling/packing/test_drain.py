"""docs/concepts/packing.md#nodes-drained-for-large-tasks"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.packing.drain import FULL_ABOVE, NODES_A_DRAIN, Drains, arrived, emptied, give_way, make_drains, served
from bushel.scheduling.packing.learning import learn
from bushel.scheduling.packing.rows import IDLE, KEPT, Rows, State, best, make_rows, make_state, occupy, revalue, vacate
from bushel.scheduling.packing.tables import Tables

SMALL, LARGE, HALF = 0, 1, 2
CLASSES = np.array([(1, 1, 1, 0, 0), (8, 8, 8, 0, 0), (4, 4, 4, 0, 0)])


def busy_fleet(nodes: int, devices: int = 8) -> tuple[Tables, State, Rows, Drains]:
    """Each node runs one small task, the second node two: no large one fits."""
    plenty = np.full(nodes, 64)
    state = make_state(plenty, plenty, np.full((nodes, devices), 1000), np.full(nodes, devices), np.zeros(nodes, np.int64))
    rows = make_rows(CLASSES, state)
    tables = learn((), 1, 8).steady
    revalue(tables, state, rows)
    drains = make_drains(state, rows)
    for row in (*range(nodes), 1):
        occupy(tables, state, rows, SMALL, row)
    return tables, state, rows, drains


def test_a_large_task_gets_the_node_with_the_most_free_and_nothing_else_starts_there() -> None:
    tables, state, rows, drains = busy_fleet(3)
    assert best(tables, state, rows, LARGE) == -1
    arrived(state, rows, drains, LARGE, -1, True)
    assert state.nodes[:, KEPT].tolist() == [8, 0, 0]
    assert best(tables, state, rows, SMALL) != 0
    vacate(tables, state, rows, SMALL, 0, 1)
    assert best(tables, state, rows, SMALL) != 0
    assert best(tables, state, rows, LARGE) == 0


def test_while_large_tasks_are_turned_away_another_node_is_kept_for_the_one_that_was_used() -> None:
    tables, state, rows, drains = busy_fleet(3)
    for _ in range(400):
        arrived(state, rows, drains, SMALL, 1, False)
    arrived(state, rows, drains, LARGE, -1, True)
    vacate(tables, state, rows, SMALL, 0, 1)
    occupy(tables, state, rows, LARGE, 0)
    served(state, rows, drains, LARGE, 0)
    assert np.flatnonzero(state.nodes[:, KEPT]).tolist() == [2], "none waits any more, but every large task was turned away so far"


def test_the_node_goes_back_when_none_waits_and_large_tasks_find_room() -> None:
    _, state, rows, drains = busy_fleet(3)
    arrived(state, rows, drains, LARGE, -1, True)
    for _ in range(400):
        arrived(state, rows, drains, LARGE, 2, False)
    assert state.nodes[:, KEPT].any(), "one waits, and the node was not used"
    served(state, rows, drains, LARGE, 2)
    assert not state.nodes[:, KEPT].any()


def test_a_node_kept_in_expectation_turns_away_no_more_than_a_large_task_and_then_gives_way() -> None:
    tables, state, rows, drains = busy_fleet(3)
    arrived(state, rows, drains, LARGE, -1, False)
    for row in (1, 2):
        while state.nodes[row, IDLE]:
            occupy(tables, state, rows, SMALL, row)
    turned_away = 0
    while best(tables, state, rows, SMALL) < 0:
        turned_away += not give_way(state, rows, drains, SMALL)
        assert turned_away <= 8, "eight small tasks are as much work as a large one"
    assert turned_away == 8
    assert not state.nodes[:, KEPT].any()


def test_a_node_gives_way_only_to_what_fits_on_it_now() -> None:
    tables, state, rows, drains = busy_fleet(3)
    arrived(state, rows, drains, LARGE, -1, False)
    while state.nodes[0, IDLE]:
        occupy(tables, state, rows, SMALL, 0)
    for _ in range(20):
        assert not give_way(state, rows, drains, SMALL)
    assert state.nodes[:, KEPT].tolist() == [8, 0, 0]


def test_a_waiting_task_keeps_its_node_however_many_small_ones_find_no_room() -> None:
    _, state, rows, drains = busy_fleet(3)
    arrived(state, rows, drains, LARGE, -1, True)
    for _ in range(300):
        arrived(state, rows, drains, LARGE, 2, False)
        assert not give_way(state, rows, drains, SMALL)
        arrived(state, rows, drains, SMALL, -1, True)
    assert np.count_nonzero(state.nodes[:, KEPT]) == 1


def test_a_node_that_comes_idle_takes_the_place_of_one_that_still_empties() -> None:
    tables, state, rows, drains = busy_fleet(3)
    arrived(state, rows, drains, LARGE, -1, True)
    assert state.nodes[:, KEPT].tolist() == [8, 0, 0]
    vacate(tables, state, rows, SMALL, 2, 1)
    emptied(state, rows, drains, 2)
    assert state.nodes[:, KEPT].tolist() == [0, 0, 8]
    vacate(tables, state, rows, SMALL, 0, 1)
    emptied(state, rows, drains, 0)
    assert state.nodes[:, KEPT].tolist() == [0, 0, 8], "an idle node stays"


def test_no_more_nodes_are_kept_than_the_bound_and_one_where_much_is_turned_away() -> None:
    _, state, rows, drains = busy_fleet(300)
    for _ in range(12):
        for _ in range(400):
            arrived(state, rows, drains, SMALL, 0, False)
        arrived(state, rows, drains, LARGE, -1, True)
    assert np.count_nonzero(state.nodes[:, KEPT]) == 7
    while drains.turned_away[0, 0] <= FULL_ABOVE[0] * drains.asked[0, 0]:
        arrived(state, rows, drains, SMALL, -1, True)
    assert np.count_nonzero(state.nodes[:, KEPT]) == 1
    arrived(state, rows, drains, LARGE, -1, True)
    assert np.count_nonzero(state.nodes[:, KEPT]) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 90), st.lists(st.tuples(st.sampled_from([SMALL, LARGE, HALF]), st.booleans()), max_size=60))
def test_whatever_comes_and_goes_the_bound_holds_and_every_kept_node_belongs_to_a_class_it_can_hold(
    nodes: int, events: list[tuple[int, bool]]
) -> None:
    """One task of what runs ends at each event; what waits starts when it fits, the oldest first."""
    tables, state, rows, drains = busy_fleet(nodes)
    running = [*((SMALL, row, 1) for row in range(nodes)), (SMALL, 1, 2)]
    waiting: list[int] = []
    for turn, (number, waits) in enumerate(events):
        row = best(tables, state, rows, number)
        if row < 0 and give_way(state, rows, drains, number):
            row = best(tables, state, rows, number)
            assert row >= 0
        if row >= 0:
            running.append((number, row, occupy(tables, state, rows, number, row)))
        elif waits:
            waiting.append(number)
        arrived(state, rows, drains, number, row, waits)
        ended, row, taken = running.pop(turn % len(running))
        vacate(tables, state, rows, ended, row, taken)
        emptied(state, rows, drains, row)
        for waiter in list(waiting):
            row = best(tables, state, rows, waiter)
            if row >= 0:
                waiting.remove(waiter)
                running.append((waiter, row, occupy(tables, state, rows, waiter, row)))
                served(state, rows, drains, waiter, row)
        kept = {int(row): int(owner) for row, owner, _ in drains.kept if row >= 0}
        assert np.count_nonzero(state.nodes[:, KEPT]) == len(kept) <= max(1, nodes // NODES_A_DRAIN)
        for row, owner in kept.items():
            assert state.nodes[row, KEPT] == CLASSES[owner, 2] >= drains.large
        assert drains.waiting.tolist() == [waiting.count(number) for number in range(3)]
    for number, row, taken in running:
        vacate(tables, state, rows, number, row, taken)
        emptied(state, rows, drains, row)
    assert (state.nodes[:, IDLE] == 8).all()
    if waiting:
        largest = max(waiting, key=lambda number: CLASSES[number, 2])
        asked = 0
        while best(tables, state, rows, largest) < 0:
            give_way(state, rows, drains, largest)
            asked += 1
            assert asked < 10, "on an empty fleet nothing keeps the largest that waits from starting"
