"""docs/concepts/pipelines.md: the grid counts every partition of a stage in its cell, however scattered they are."""

from __future__ import annotations

import pytest

from bushel.api.run_views import grid_view
from bushel.store import run_reads
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines


@pytest.mark.parametrize("columns", [1, 7, 80])
def test_every_partition_is_counted_in_its_cell(world: World, columns: int) -> None:
    pipelines = Pipelines(world)
    names = [f"p{number:02}" for number in range(53)]
    run = pipelines.run({
        "name": "p",
        "partitions": names,
        "stages": {"first": {"run": "true"}, "second": {"run": "true", "after": "first"}},
    })  # fmt: skip
    pipelines.settle()
    pipelines.work(lambda _, name: int(int(name[1:]) % 3 == 1), most=40)
    pipelines.settle()
    with pipelines.database.transaction() as tx:
        rows = {row["stage"]: row for row in grid_view(tx, run, columns)["rows"]}
    shown = min(columns, len(names))
    for stage, cells in ((stage, rows[stage]["cells"]) for stage in ("first", "second")):
        expected = [[0] * len(run_reads.CELL_PLACES) for _ in range(shown)]
        for number in range(len(names)):
            ended = number < 40  # the lowest are placed first
            failed = number % 3 == 1
            if stage == "first":
                place = "pending" if not ended else "failed" if failed else "succeeded"
            else:
                place = "gated" if not ended else "cancelled" if failed else "pending"
            expected[number * shown // len(names)][run_reads.CELL_PLACES.index(place)] += 1
        assert cells == expected, stage
        assert rows[stage]["partitions"] == len(names)


def test_what_runs_is_counted_too_and_a_stage_whose_partitions_are_unknown_has_no_cells(world: World) -> None:
    pipelines = Pipelines(world)
    run = pipelines.run({
        "name": "p",
        "partitions": ["a", "b", "c"],
        "stages": {
            "list": {"once": True, "run": "true"},
            "each": {"partitions": {"discovered_by": "list"}, "run": "true", "after": "list"},
        },
    })  # fmt: skip
    pipelines.settle()
    ((job, *_),) = pipelines.pending()
    world.place(job, 1)
    with pipelines.database.transaction() as tx:
        rows = grid_view(tx, run, 80)["rows"]
    live = [int(place == "live") for place in run_reads.CELL_PLACES]
    assert [(row["stage"], row["partitions"], row["cells"]) for row in rows] == [("list", 1, [live]), ("each", 0, [])]
