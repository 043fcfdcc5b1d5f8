"""docs/concepts/pipelines.md: runs go on as their partitions finish, each partition once."""

from __future__ import annotations

import pytest

from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines, two_stages


@pytest.fixture
def pipelines(world: World) -> Pipelines:
    return Pipelines(world)


def test_a_partition_goes_on_as_soon_as_its_upstream_is_done(pipelines: Pipelines) -> None:
    run = pipelines.run(two_stages())
    pipelines.settle()
    assert pipelines.counts(run) == {"first": {"pending": 3}, "second": {"gated": 3}}
    assert pipelines.work(most=1) == 1
    pipelines.settle()
    assert pipelines.counts(run) == {"first": {"pending": 2, "succeeded": 1}, "second": {"gated": 2, "pending": 1}}
    pipelines.finish()
    assert pipelines.state(run) == "succeeded"
    assert sorted(pipelines.ran) == [(stage, name) for stage in ("first", "second") for name in "abc"]
