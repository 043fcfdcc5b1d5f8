"""docs/concepts/pipelines.md#taking-results-over: the same work is never done twice, and there is never a stale hit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bushel.api.run_views import grid_view, partition_views
from bushel.control.why_run import why
from bushel.store import pipelines as store
from bushel.store import run_reads, runs
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines


@pytest.fixture
def pipelines(world: World) -> Pipelines:
    return Pipelines(world)


def document(contents: dict[str, str], *, command: str = "decode", env: str = "1", name: str = "p", **stage: Any) -> dict[str, Any]:
    return {
        "name": name,
        "partitions": [{"name": name, "digest": f"sha256:{content}"} for name, content in contents.items()],
        "parameters": {"hz": "10"},
        "stages": {
            "decode": {"run": command, "env": {"MODE": env}, "outputs": {"frames": "frames"}, "cache": "auto", **stage},
            "shard": {"run": "shard", "after": "decode", "outputs": {"shards": "shards"}},
        },
    }


def truth(spec: dict[str, Any], parameters: dict[str, str], contents: dict[str, str]) -> Callable[[str, str], dict[str, Any]]:
    """What a task really comes to: a function of all that it may depend on, in which the tasks are honest."""

    def result(stage: str, name: str) -> dict[str, Any]:
        work = spec["stages"]["decode"]
        frames = _digest(contents[name], work["run"], work["env"]["MODE"], parameters.get("hz", "10"))
        made = frames if stage == "decode" else _digest(frames, parameters.get("hz", "10"))
        output = "frames" if stage == "decode" else "shards"
        return {"body": {"outputs": {output: {"digest": made, "uri": f"{stage}/{name}"}}}}

    return result


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


@pytest.fixture(autouse=True)
def without_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are only recorded: where data sets lie is not what this is about."""
    for module in ("stage_places", "stage_endings"):
        monkeypatch.setattr(f"bushel.control.{module}.data_sets", lambda: None)


def test_the_same_work_is_done_once_across_runs_and_pipelines(pipelines: Pipelines) -> None:
    contents = {"a": "1", "b": "2"}
    spec = document(contents)
    pipelines.run(spec)
    pipelines.finish(results=truth(spec, {}, contents))
    assert len(pipelines.ran) == 4
    pipelines.ran.clear()
    again = pipelines.run(spec)
    pipelines.run(document(contents, name="other"))
    pipelines.finish(results=truth(spec, {}, contents))
    assert pipelines.ran == []
    assert pipelines.state(again) == "succeeded"
    assert pipelines.stages(again)["shard"]["cached_count"] == 2


def test_a_result_that_is_the_same_again_cuts_off_what_follows(pipelines: Pipelines) -> None:
    contents = {"a": "1"}
    spec = document(contents)
    result = truth(spec, {}, contents)
    pipelines.run(spec)
    pipelines.finish(results=result)
    pipelines.ran.clear()
    pipelines.run(document(contents, command="decode --faster"))
    pipelines.finish(results=result)  # the new command comes to the very same
    assert pipelines.ran == [("decode", "a")]


def test_what_failed_is_never_taken_over(pipelines: Pipelines) -> None:
    contents = {"a": "1"}
    spec = document(contents)
    pipelines.run(spec)
    pipelines.finish(lambda *_: 1, truth(spec, {}, contents))
    pipelines.ran.clear()
    pipelines.run(spec)
    pipelines.finish(results=truth(spec, {}, contents))
    assert pipelines.ran == [("decode", "a"), ("shard", "a")]


@pytest.mark.parametrize("stage", [{"cache": "never"}, {"outputs": {}}])
def test_stages_that_are_not_to_be_shared_are_done_again(pipelines: Pipelines, stage: dict[str, Any]) -> None:
    contents = {"a": "1"}
    spec = document(contents, **stage)
    for _ in range(2):
        pipelines.ran.clear()
        pipelines.run(spec)
        pipelines.finish(results=truth(spec, {}, contents))
    assert ("decode", "a") in pipelines.ran


def test_without_a_digest_of_what_it_is_made_of_nothing_is_taken_over(pipelines: Pipelines) -> None:
    spec = document({"a": "1"})
    spec["partitions"] = ["a"]
    for _ in range(2):
        pipelines.ran.clear()
        pipelines.run(spec)
        pipelines.finish(results=truth(spec, {}, {"a": "1"}))
    assert ("decode", "a") in pipelines.ran


def test_why_run_names_what_changed(pipelines: Pipelines) -> None:
    contents = {"a": "1"}
    spec = document(contents)
    pipelines.run(spec)
    pipelines.finish(results=truth(spec, {}, contents))

    def asked(run_id: int, stage: str = "decode") -> dict[str, Any]:
        with pipelines.database.transaction() as tx:
            row = pipelines.row(run_id)
            return why(tx, row, store.document(tx, row["pipeline_id"], row["version"]) or {}, stage, "a")

    def run(spec: dict[str, Any], contents: dict[str, str], **options: Any) -> int:
        made = pipelines.run(spec, **options)
        pipelines.finish(results=truth(spec, options.get("parameters", {}), contents))
        return made

    assert asked(run(spec, contents))["taken_over"]
    assert asked(run(document(contents, command="other"), contents))["changed"] == ["code"]
    assert asked(run(document(contents, env="2"), contents))["changed"] == ["code", "environment"]
    assert asked(run(document({"a": "9"}, env="2"), {"a": "9"}))["changed"] == ["partition"]
    changed = run(document({"a": "9"}, env="2"), {"a": "9"}, parameters={"hz": "20"})
    assert asked(changed)["changed"] == ["parameters"]
    assert asked(changed, "shard")["changed"] == ["parameters", "stage decode"]


def test_what_is_taken_over_says_which_attempt_of_which_run_made_it(pipelines: Pipelines) -> None:
    contents = {"a": "1", "b": "2"}
    spec = document(contents)
    first = pipelines.run(spec)
    pipelines.finish(lambda stage, name: int((stage, name) == ("decode", "b")), truth(spec, {}, contents))
    second = pipelines.rerun(first)
    pipelines.finish(results=truth(spec, {}, contents))
    third, fourth = pipelines.run(document(contents, name="other")), pipelines.run(spec)
    pipelines.finish(results=truth(spec, {}, contents))
    fifth = pipelines.rerun(fourth)

    def shown(run_id: int) -> dict[str, tuple[int, str] | None]:
        with pipelines.database.transaction() as tx:
            stage = next(row for row in runs.stages(tx, [run_id]) if row["name"] == "decode")
            found = partition_views(tx, stage, run_reads.counts(tx, [run_id])[stage["id"]], None, -1, 10)
        return {row["partition"]: row["made_by"] and (row["made_by"]["run"], row["made_by"]["pipeline"]) for row in found}

    assert shown(first) == {"a": None, "b": None}
    assert shown(second) == {"a": (1, "p"), "b": None}
    for run_id in (third, fourth, fifth):
        assert shown(run_id) == {"a": (1, "p"), "b": (2, "p")}, "it is the attempt that did the work, however often it is taken over"
    with pipelines.database.transaction() as tx:
        rows = {row["stage"]: row["taken_over"] for row in grid_view(tx, third, 80)["rows"]}
        row = pipelines.row(fourth)
        told = why(tx, row, store.document(tx, row["pipeline_id"], row["version"]) or {}, "decode", "b")
    assert rows["decode"] == [{"pipeline": "p", "run": 1, "partitions": 1}, {"pipeline": "p", "run": 2, "partitions": 1}]
    assert told["made_by"] is not None
    attempt, cluster = told["made_by"]["attempt"], told["made_by"]["cluster"]
    assert told["sentence"].endswith(f"its result was taken over; attempt {attempt} of run 2 of p made it, on {cluster}")
    with pipelines.database.transaction() as tx:
        assert grid_view(tx, fifth, 80)["rows"][0]["taken_over"] == [{"pipeline": "p", "run": 3, "partitions": 2}], "where it stands from"


steps = st.lists(
    st.tuples(
        st.sampled_from(["decode", "decode2"]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(["10", "20"]),
        st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), min_size=1),
    ),
    min_size=2,
    max_size=5,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_never_a_stale_hit(pipelines: Pipelines, changes: list[tuple[str, str, str, dict[str, str]]]) -> None:
    """Whatever changes between runs, each result of each run is the one that doing it afresh would come to."""
    for command, env, hz, contents in changes:
        spec = document(contents, command=command, env=env)
        result = truth(spec, {"hz": hz}, contents)
        before = len(pipelines.ran)
        run = pipelines.run(spec, parameters={"hz": hz})
        pipelines.finish(results=result)
        assert pipelines.state(run) == "succeeded"
        with pipelines.database.transaction() as tx:
            rows = tx.all(
                "select s.name, n.names[e.index + 1] as partition, e.body from element_results e join stage_jobs sj on sj.job_id = e.job_id"
                " join run_stages s on s.id = sj.stage_id join partition_names n on n.set_id = s.set_id where s.run_id = %s",
                (run,),
            )
        assert len(rows) == 2 * len(contents)
        for row in rows:
            assert row["body"]["outputs"] == result(row["name"], row["partition"])["body"]["outputs"]
        again = pipelines.run(spec, parameters={"hz": hz})
        pipelines.finish(results=result)
        assert len(pipelines.ran) <= before + len(rows), "the second time everything was taken over"
        assert pipelines.stages(again)["shard"]["cached_count"] == len(contents)
