"""docs/concepts/packing.md#nodes-drained-for-large-tasks"""

from __future__ import annotations

import numpy as np

from bushel.scheduling.packing.drain import FULL_ABOVE, Drains, arrived, make_drains, started
from bushel.scheduling.packing.learning import learn
from bushel.scheduling.packing.rows import KEPT, Rows, State, best, make_rows, make_state, occupy, revalue, vacate
from bushel.scheduling.packing.tables import Tables

SMALL, LARGE = 0, 1


def busy_fleet(nodes: int) -> tuple[Tables, State, Rows, Drains]:
    """Each node runs one small task, the second node two: no large one fits."""
    plenty = np.full(nodes, 64)
    state = make_state(plenty, plenty, np.full((nodes, 8), 1000), np.full(nodes, 8), np.zeros(nodes, np.int64))
    rows = make_rows(np.array([(1, 1, 1, 0, 0), (8, 8, 8, 0, 0)]), state)
    tables = learn((), 1, 8).steady
    revalue(tables, state, rows)
    drains = make_drains(state)
    for row in (*range(nodes), 1):
        occupy(tables, state, rows, SMALL, row)
    return tables, state, rows, drains


def test_a_large_task_gets_the_node_with_the_most_free_and_nothing_else_starts_there() -> None:
    tables, state, rows, drains = busy_fleet(3)
    assert best(tables, state, rows, LARGE) == -1
    arrived(state, rows, drains, LARGE, True)
    assert state.nodes[:, KEPT].tolist() == [8, 0, 0]
    assert best(tables, state, rows, SMALL) != 0
    vacate(tables, state, rows, SMALL, 0, 1)
    assert best(tables, state, rows, SMALL) != 0
    assert best(tables, state, rows, LARGE) == 0


def test_the_node_goes_back_when_it_was_used_or_when_none_waits() -> None:
    _, state, rows, drains = busy_fleet(3)
    arrived(state, rows, drains, LARGE, True)
    started(state, rows, drains, LARGE, 2, True)
    assert state.nodes[:, KEPT].any(), "another waits, and the node was not used"
    started(state, rows, drains, LARGE, 0, False)
    assert not state.nodes[:, KEPT].any()


def test_no_more_nodes_are_kept_than_the_bound_and_one_where_much_is_turned_away() -> None:
    _, state, rows, drains = busy_fleet(300)
    for _ in range(12):
        for _ in range(400):
            arrived(state, rows, drains, SMALL, False)
        arrived(state, rows, drains, LARGE, True)
    assert np.count_nonzero(state.nodes[:, KEPT]) == 7
    while drains.turned_away[0, 0] <= FULL_ABOVE[0] * drains.asked[0, 0]:
        arrived(state, rows, drains, SMALL, True)
    assert np.count_nonzero(state.nodes[:, KEPT]) == 1
    arrived(state, rows, drains, LARGE, True)
    assert np.count_nonzero(state.nodes[:, KEPT]) == 1
