"""docs/concepts/scheduling.md#gangs: each slice of a gang lies within one place, and for one group a placement is found if there is one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.domain.job import Slices
from bushel.scheduling.plan import Cause
from tests.scheduling.worlds import World, fleet, group, job, shape

Spot = tuple[int, int, int]
"""Block, rack (0: it names none) and CPUs of a node."""

SPOTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=9)


def laid_out(spots: list[Spot]) -> World:
    world = fleet(*[{"cpu": cpu * 1000, "memory": 8} for _, _, cpu in spots])
    for number, (block, rack, _) in zip(world.nodes, spots, strict=True):
        levels = (("block", f"b{block}"), *([("rack", f"r{block}.{rack}")] if rack else []))
        world.nodes[number] = replace(world.nodes[number], topology=levels)
    return world


def holds(spots: list[Spot], size: int, tasks: int, *, within_block: bool) -> bool:
    """Counted out by hand: whole slices of each rack, added up."""
    racks: Counter[tuple[int, int]] = Counter()
    for block, rack, cpu in spots:
        if rack:
            racks[block, rack] += cpu
    blocks: Counter[int] = Counter()
    for (block, _), room in racks.items():
        blocks[block if within_block else 0] += room // size * size
    return any(room >= tasks for room in blocks.values())


@settings(max_examples=200)
@given(SPOTS, st.integers(2, 4), st.integers(1, 4), st.booleans())
def test_a_gang_of_slices_starts_exactly_if_there_is_a_place_for_it(spots: list[Spot], size: int, slices: int, within_block: bool) -> None:
    world = laid_out(spots)
    count = size * slices
    what = shape(group(count=count), slices=Slices(size, "rack"), require="block" if within_block else None)
    world.jobs = {1: job(1, what)}
    made = world.plan()
    assert bool(made.starts) == holds(spots, size, count, within_block=within_block)
    for start in made.starts:
        places = [world.nodes[run.node_id].topology for run in start.runs for _ in range(run.first, run.stop)]
        assert [run.first for run in start.runs] == [0, *(run.stop for run in start.runs[:-1])]
        assert len(places) == count
        assert all(len(set(places[first : first + size])) == 1 for first in range(0, count, size)), "a slice lies in one rack"
        assert not within_block or len({place[0] for place in places}) == 1


@given(SPOTS, st.integers(1, 3), st.integers(1, 3))
def test_a_gang_that_may_be_smaller_has_whole_slices_too(spots: list[Spot], least: int, more: int) -> None:
    world = laid_out(spots)
    full = 2 * (least + more)
    world.jobs = {1: job(1, shape(group(count=full, least=2 * least), slices=Slices(2, "rack")))}
    most = max((tasks for tasks in range(0, full + 1, 2) if holds(spots, 2, tasks, within_block=False)), default=0)
    placed = [sum(run.stop - run.first for run in start.runs) for start in world.plan().starts]
    assert placed == ([most] if most >= 2 * least else [])


def test_slices_leave_the_roomy_rack_whole() -> None:
    world = laid_out([(0, 1, 3), (0, 2, 5), (0, 3, 2)])
    world.jobs = {1: job(1, shape(group(count=2), slices=Slices(2, "rack")))}
    assert [run.node_id for run in world.plan().starts[0].runs] == [3]


def test_a_gang_without_room_for_its_slices_waits_for_room() -> None:
    world = laid_out([(0, 1, 3), (0, 2, 3)])
    world.jobs = {1: job(1, shape(group(count=4), slices=Slices(4, "rack")))}
    made = world.plan()
    assert not made.starts
    assert made.waiting[0].cause in (Cause.NO_ROOM, Cause.NO_NODE)
