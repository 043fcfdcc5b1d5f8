"""docs/concepts/pipelines.md#again: what stands is not done twice."""

from __future__ import annotations

from typing import Any

import pytest

from bushel.control.run_changes import Redo, code_key
from bushel.domain.errors import Conflict, InvalidDocument
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines, listing, two_stages


@pytest.fixture
def pipelines(world: World) -> Pipelines:
    return Pipelines(world)


def with_sum(**fields: Any) -> dict[str, Any]:
    document = two_stages(**fields)
    document["stages"]["sum"] = {"once": True, "run": "true", "after": "second"}
    return document


def test_a_rerun_does_what_failed_and_what_is_made_of_it(pipelines: Pipelines) -> None:
    run = pipelines.run(with_sum())
    pipelines.finish(lambda stage, name: int((stage, name) == ("second", "b")))
    pipelines.ran.clear()
    again = pipelines.rerun(run)
    pipelines.finish()
    assert pipelines.ran == [("second", "b"), ("sum", "all")]
    assert pipelines.state(again) == "succeeded"
    pipelines.ran.clear()
    pipelines.rerun(again)
    pipelines.finish()
    assert pipelines.ran == []


def test_a_rerun_from_a_stage_does_it_and_all_after_it(pipelines: Pipelines) -> None:
    run = pipelines.run(with_sum())
    pipelines.finish()
    pipelines.ran.clear()
    pipelines.rerun(run, redo=Redo(stages=("second",)))
    pipelines.finish()
    assert sorted(pipelines.ran) == [("second", "a"), ("second", "b"), ("second", "c"), ("sum", "all")]
    with pytest.raises(InvalidDocument, match="no stage nope"):
        pipelines.rerun(run, redo=Redo(stages=("nope",)))


def test_a_rerun_of_some_partitions(pipelines: Pipelines) -> None:
    run = pipelines.run(two_stages())
    pipelines.finish()
    pipelines.ran.clear()
    again = pipelines.rerun(run, redo=Redo(chosen=("b",)))
    pipelines.finish()
    assert pipelines.ran == [("first", "b"), ("second", "b")]
    assert pipelines.state(again) == "succeeded"


def test_a_rerun_of_what_older_code_made_looks_through_earlier_reruns(pipelines: Pipelines) -> None:
    document = two_stages()
    document["stages"]["first"]["code"] = "v1"
    run = pipelines.run(document)
    pipelines.finish(lambda stage, name: int((stage, name) == ("first", "c")))
    document["stages"]["first"]["code"] = "v2"
    pipelines.apply(document)
    second = pipelines.rerun(run)
    pipelines.finish()
    pipelines.ran.clear()
    pipelines.rerun(second, redo=Redo(where="code<v2"))
    pipelines.finish()
    assert sorted(pipelines.ran) == [("first", "a"), ("first", "b"), ("second", "a"), ("second", "b"), ("second", "c")]
    with pytest.raises(InvalidDocument, match="not a condition"):
        pipelines.rerun(second, redo=Redo(where="age<3"))


def test_versions_of_code_are_compared_as_people_do() -> None:
    assert sorted(["v10", "v2", "v1.9", "v1.10"], key=code_key) == ["v1.9", "v1.10", "v2", "v10"]


def test_a_rerun_keeps_listed_partitions_when_their_list_stands(pipelines: Pipelines) -> None:
    document = two_stages(partitions={"discovered_by": "list"})
    document["stages"]["list"] = {"once": True, "run": "ls"}
    run = pipelines.run(document)
    results = lambda stage, _: listing("x", "y") if stage == "list" else None  # noqa: E731
    pipelines.finish(lambda stage, name: int((stage, name) == ("first", "y")), results)
    pipelines.ran.clear()
    again = pipelines.rerun(run)
    pipelines.finish(results=results)
    assert pipelines.ran == [("first", "y"), ("second", "y")]
    assert pipelines.state(again) == "succeeded"


def test_a_run_that_goes_on_cannot_be_done_again(pipelines: Pipelines) -> None:
    run = pipelines.run(two_stages())
    with pytest.raises(Conflict, match="has not ended"):
        pipelines.rerun(run)
