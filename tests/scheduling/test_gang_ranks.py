"""docs/concepts/scheduling.md#gangs: neighbouring ranks lie on neighbouring nodes, level by level."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.scheduling.worlds import fleet, group, job, shape


def test_numbers_within_names_count_as_numbers() -> None:
    world = fleet(*[{"cpu": 1000, "memory": 8}] * 4)
    places = (("block-2", "r1"), ("block-10", "r1"), ("block-2", "r10"), ("block-2", "r9"))
    for number, (block, rack) in zip(world.nodes, places, strict=True):
        world.nodes[number] = replace(world.nodes[number], topology=(("block", block), ("rack", rack)))
    world.jobs = {1: job(1, shape(group(count=4)))}
    assert [run.node_id for run in world.plan().starts[0].runs] == [1, 4, 3, 2]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 3)), min_size=1, max_size=12), st.data())
def test_the_ranks_of_a_rack_and_of_a_block_follow_each_other(nodes: list[tuple[int, int, int]], data: st.DataObject) -> None:
    world = fleet(*[{"cpu": cpu * 1000, "memory": 8} for _, _, cpu in nodes])
    for number, (block, rack, _) in zip(world.nodes, nodes, strict=True):
        levels = (("block", f"b{block}"), ("rack", f"r{rack}"))[: data.draw(st.integers(0, 2))]
        world.nodes[number] = replace(world.nodes[number], topology=levels)
    count = data.draw(st.integers(1, sum(cpu for _, _, cpu in nodes)))
    world.jobs = {1: job(1, shape(group(count=count)))}
    runs = world.plan().starts[0].runs
    assert [run.first for run in runs] == [0, *(run.stop for run in runs[:-1])]
    placed = [world.nodes[run.node_id].topology for run in runs]
    for level in (1, 2):
        seen = [topology[:level] for topology in placed]
        changes = [one for one, before in zip(seen, [None, *seen[:-1]], strict=True) if one != before]
        assert len(changes) == len(set(changes)), "a place is left and come back to"
