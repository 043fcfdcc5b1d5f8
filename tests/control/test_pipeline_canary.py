"""docs/concepts/pipelines.md#canary: a sample is done first, and the rest is begun only if every gate holds."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bushel.control import run_changes
from bushel.control.canary import choose
from bushel.control.datasets import dataset_in, selected
from bushel.control.storage_places import put_place
from bushel.domain.errors import Conflict, NotFound
from bushel.domain.ranges import IndexRanges
from bushel.spec.dataset import NewPlace
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines, listing

PROJECT = "home/main/main"
NAMES = [f"day-{number}" for number in range(8)]
Results = Callable[[str, str], dict[str, Any]]


@pytest.fixture
def pipelines(world: World, tmp_path: Path) -> Pipelines:
    with world.database.transaction() as tx:
        put_place(tx, world.principal, PROJECT, "default", NewPlace(url=str(tmp_path)).model_dump())
    return Pipelines(world)


def document(code: str = "v1", names: list[str] = NAMES, **canary: Any) -> dict[str, Any]:
    """Each day is decoded, and what came of all of them is summed up."""
    stages: dict[str, dict[str, Any]] = {
        "decode": {"run": f"decode {code}", "outputs": {"frames": "frames"}, "cache": "auto"},
        "check": {"run": "check", "after": "decode"},
        "sum": {"once": True, "run": "sum", "after": "check", "outputs": {"total": "total"}},
    }
    days = [{"name": name, "digest": f"sha256:{name}"} for name in names]
    return {"name": "p", "partitions": days, "stages": stages, "canary": {"count": 3, **canary}}


def part(what: str, *, rows: int = 100, speed: float = 10.0, nulls: int = 0, schema: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The descriptor of a part in which every speed is the same."""
    column = {"count": rows, "nulls": nulls, "min": speed, "max": speed, "sum": rows * speed, "sum_squares": rows * speed * speed}
    return {
        "digest": f"sha256:{hashlib.sha256(repr((what, rows, speed, nulls, schema)).encode()).hexdigest()}",
        **{"place": "default", "files": 1, "bytes": rows * 8, "records": rows},
        **{"schema": dict(schema or {"speed": "double"}), "statistics": {"columns": {"speed": column}}},
    }


def making(pipelines: Pipelines, **change: Any) -> Results:
    """Every task writes the same, but for what is changed; `made_by` is what a task of the platform is told of itself."""

    def result(stage: str, name: str) -> dict[str, Any]:
        if stage == "check":
            return {"body": {}}
        output = {"decode": "frames", "sum": "total"}[stage]
        made = part(f"{stage} {name}", **(change if stage == "decode" else {}))
        with pipelines.database.transaction() as tx:
            job = tx.one("select max(id) as id from jobs where spec -> 'stage' ->> 'stage' = %s", (stage,))["id"]
        index = NAMES.index(name) if name in NAMES else 0
        made["made_by"] = {"job": job_text(job), "index": index, "attempt": 1}
        return {"body": {"outputs": {output: made}, "records": {"total": 100, "bad": 0}}}

    return result


def job_text(number: int) -> str:
    from bushel.domain.ids import encode_job_id

    return encode_job_id(number)


def current(pipelines: Pipelines, name: str = "frames") -> int | None:
    with pipelines.database.transaction() as tx:
        return dataset_in(tx, PROJECT, name)["current_number"]


def told(pipelines: Pipelines) -> list[tuple[str, bool | None]]:
    """Events of the register, and whether they say that it was withheld."""
    with pipelines.database.transaction() as tx:
        rows = tx.all("select kind, body from events where object = 'dataset/home/main/main/register' and body ? 'number' order by id")
    return [(row["kind"], row["body"].get("withheld")) for row in rows]


def first_version(pipelines: Pipelines, **canary: Any) -> None:
    run = pipelines.run(document(**canary))
    pipelines.finish(results=making(pipelines))
    assert pipelines.state(run) == "succeeded", pipelines.row(run)["message"]
    assert current(pipelines) == 1
    pipelines.ran.clear()


def outcomes(pipelines: Pipelines, run: int) -> dict[str, tuple[bool, Any, Any]]:
    return {one["gate"]: (one["holds"], one["measured"], one["last"]) for one in pipelines.row(run)["canary"]["outcomes"]}


GATES = {"rows": "within 2%", "schema": "same", "columns": {"speed": {"mean": "within 5%", "nulls": "at most 1%"}}}


def test_the_rest_waits_for_the_sample_and_goes_on_when_the_gates_hold(pipelines: Pipelines) -> None:
    first_version(pipelines)
    run = pipelines.run(document("v2", gates=GATES))
    pipelines.settle()
    assert pipelines.counts(run) == {"decode": {"pending": 3, "gated": 5}, "check": {"gated": 8}, "sum": {"gated": 1}}
    pipelines.work(results=making(pipelines, rows=101, speed=10.4))
    pipelines.settle()
    assert pipelines.counts(run)["decode"] == {"succeeded": 3, "gated": 5}, "the whole way of the sample comes first"
    pipelines.finish(results=making(pipelines, rows=101, speed=10.4))
    assert pipelines.state(run) == "succeeded"
    assert outcomes(pipelines, run) == {
        "failed partitions at most 0": (True, 0, None),
        "rows of frames within 2%": (True, 303, 300),
        "schema of frames same": (True, "1 column", "1 column"),
        "mean of speed in frames within 5%": (True, pytest.approx(10.4), pytest.approx(10.0)),
        "nulls of speed in frames at most 1%": (True, 0.0, 0.0),
    }
    assert len([one for one in pipelines.ran if one[0] == "decode"]) == 8, "the work of the sample is not done twice"
    assert current(pipelines) == 2


@pytest.mark.parametrize(
    ("gates", "change", "said"),
    [
        (
            {"rows": "within 2%"},
            {"rows": 97},
            "`rows of frames within 2%` does not hold: it is 291, and 300 in version 1, over the same 3 part",
        ),
        ({"rows": "at least 1000"}, {}, "`rows of frames at least 1000` does not hold: it is 300"),
        ({"bytes": "at most 110%"}, {"rows": 111}, "it is 2,664, and 2,400 in version 1"),
        ({"schema": "same"}, {"schema": {"speed": "double", "x": "int64"}}, "it is x: int64, and x: none in version 1"),
        ({"schema": "compatible"}, {"schema": {"speed": "float"}}, "it is speed: float, and speed: double in version 1"),
        (
            {"columns": {"speed": {"mean": "within 5%"}}},
            {"speed": 36.0},
            "`mean of speed in frames within 5%` does not hold: it is 36, and 10",
        ),
        (
            {"columns": {"speed": {"nulls": "at most 1%"}}},
            {"nulls": 2},
            "`nulls of speed in frames at most 1%` does not hold: it is 0.0196",
        ),
        ({"columns": {"speeed": {"mean": "within 5%"}}}, {}, "no data set of the sample has this column"),
    ],
)
def test_a_gate_that_does_not_hold_stops_the_run_and_publishes_nothing(
    pipelines: Pipelines, gates: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    first_version(pipelines)
    run = pipelines.run(document("v2", gates=gates))
    pipelines.finish(results=making(pipelines, **change))
    row = pipelines.row(run)
    assert (row["state"], row["reason"]) == ("failed", "canary_failed")
    assert said in row["message"], row["message"]
    assert "5 partitions were not begun" in row["message"]
    assert f"bushel pipeline approve p --run {row['number']} --message" in row["message"]
    assert len([one for one in pipelines.ran if one[0] == "decode"]) == 3
    assert current(pipelines) == 1
    assert current(pipelines, "total") == 1


@pytest.mark.parametrize(
    ("gates", "change"),
    [
        ({"rows": ["within 2%", "at least 300"]}, {"rows": 102}),
        ({"schema": "compatible"}, {"schema": {"speed": "double", "x": "int64"}}),
        ({"columns": {"speed": {"mean": "within 1", "max": "at most 200%", "count": "at least 95%"}}}, {"speed": 10.9, "rows": 96}),
        ({"columns": {"speed": {"nulls": "within 2%"}}}, {"nulls": 2}),
    ],
)
def test_gates_that_hold_let_it_go_on(pipelines: Pipelines, gates: dict[str, Any], change: dict[str, Any]) -> None:
    first_version(pipelines)
    run = pipelines.run(document("v2", gates=gates))
    pipelines.finish(results=making(pipelines, **change))
    assert pipelines.state(run) == "succeeded", pipelines.row(run)["message"]


def test_without_an_earlier_version_gates_that_compare_hold_and_say_so(pipelines: Pipelines) -> None:
    run = pipelines.run(document(gates=GATES))
    pipelines.finish(results=making(pipelines))
    assert pipelines.state(run) == "succeeded"
    notes = {one["gate"]: one["note"] for one in pipelines.row(run)["canary"]["outcomes"]}
    assert notes["rows of frames within 2%"] == "nothing to compare with"
    assert notes["nulls of speed in frames at most 1%"] is None


def test_gates_of_one_data_set_and_of_bad_records(pipelines: Pipelines) -> None:
    run = pipelines.run(document(gates={"bad_records": "at most 1%"}, data_sets={"frames": {"files": "at most 2"}}))
    pipelines.finish(results=making(pipelines))
    assert "`files of frames at most 2` does not hold: it is 3" in pipelines.row(run)["message"]

    def bad(stage: str, name: str) -> dict[str, Any]:
        made = making(pipelines)(stage, name)
        return {"body": {**made["body"], "records": {"total": 100, "bad": 3}}}

    run = pipelines.run(document("v2", gates={"bad_records": "at most 1%"}))
    pipelines.finish(results=bad)
    assert "`bad records at most 1%` does not hold: it is 0.03" in pipelines.row(run)["message"]


def test_a_sample_of_which_something_fails_stops_the_run_unless_a_gate_allows_it(pipelines: Pipelines) -> None:
    def failing(stage: str, name: str) -> int:
        return int((stage, name) == ("check", "day-1"))

    days = {"partitions": ["day-1", "day-2"]}
    run = pipelines.run(document() | {"canary": days})
    pipelines.finish(failing, making(pipelines))
    assert "`failed partitions at most 0` does not hold: it is 1" in pipelines.row(run)["message"]
    assert sorted(one for one in pipelines.ran if one[0] == "check") == [("check", "day-1"), ("check", "day-2")]
    run = pipelines.run(document() | {"canary": {**days, "gates": {"failed": "at most 1"}}})
    pipelines.finish(failing, making(pipelines))
    assert pipelines.row(run)["canary"]["state"] == "passed"
    assert pipelines.row(run)["reason"] == "stage_failed"
    assert pipelines.counts(run)["check"] == {"succeeded": 7, "failed": 1}


def test_a_sample_that_is_everything_is_judged_before_anything_is_published(pipelines: Pipelines) -> None:
    first_version(pipelines)
    run = pipelines.run(document("v2", gates={"rows": "within 2%"}) | {"canary": {"share": 1.0, "gates": {"rows": "within 2%"}}})
    pipelines.finish(results=making(pipelines, rows=50))
    assert (pipelines.state(run), pipelines.row(run)["reason"]) == ("failed", "canary_failed")
    assert current(pipelines) == 1
    assert pipelines.stages(run)["decode"]["outputs"] is None


def test_what_must_be_whole_before_the_sample_is_published_only_when_the_gates_hold(pipelines: Pipelines) -> None:
    """A stage that lists recordings writes a data set too: the sample reads it by its number, and nobody else before the gates hold."""
    spec = document(gates={"rows": "within 2%"})
    spec["stages"]["list"] = {"once": True, "run": "list", "outputs": {"register": "register"}, "cache": "never"}
    spec |= {"partitions": {"discovered_by": "list"}}
    spec["stages"]["decode"]["cache"] = "never"

    def result(rows: int) -> Results:
        def made(stage: str, name: str) -> dict[str, Any]:
            if stage == "list":
                return {**listing(*NAMES), "body": {"outputs": {"register": part(f"register {rows}")}}}
            return making(pipelines, rows=rows)(stage, name)

        return made

    run = pipelines.run(spec)
    pipelines.settle()
    pipelines.work(results=result(100))
    pipelines.settle()
    made = pipelines.stages(run)["list"]["outputs"]["register"]
    assert (made["version"], current(pipelines, "register")) == (1, None)
    assert told(pipelines) == [("dataset.committed", True)]
    with pytest.raises(NotFound), pipelines.database.transaction() as tx:
        selected(tx, dataset_in(tx, PROJECT, "register"), "latest")
    pipelines.finish(results=result(100))
    assert pipelines.state(run) == "succeeded", pipelines.row(run)["message"]
    assert current(pipelines, "register") == 1
    assert told(pipelines) == [("dataset.committed", True), ("dataset.published", None)]
    failed = pipelines.run(spec)
    pipelines.finish(results=result(50))
    assert pipelines.row(failed)["reason"] == "canary_failed"
    assert current(pipelines, "register") == 1
    with pipelines.database.transaction() as tx:
        approved = run_changes.approve(tx, pipelines.world.principal, failed, "half of it was doubled")
    pipelines.ran.clear()
    pipelines.finish(results=result(50))
    assert pipelines.state(approved) == "succeeded", pipelines.row(approved)["message"]
    assert (current(pipelines, "register"), current(pipelines)) == (2, 2)
    assert len([one for one in pipelines.ran if one[0] == "decode"]) == 5
    assert ("list", "all") not in pipelines.ran
    assert told(pipelines)[2:] == [("dataset.committed", True), ("dataset.published", None)]


def test_a_failed_list_is_what_the_run_says_and_not_the_canary(pipelines: Pipelines) -> None:
    spec: dict[str, Any] = document() | {"partitions": {"discovered_by": "list"}}
    spec["stages"]["list"] = {"once": True, "run": "list"}
    run = pipelines.run(spec)
    pipelines.finish(lambda stage, _: int(stage == "list"))
    row = pipelines.row(run)
    assert (row["state"], row["reason"]) == ("failed", "stage_failed")
    assert "partitions of list failed" in row["message"]
    before = document()
    before["stages"] = {"once": {"once": True, "run": "x"}, **before["stages"]}
    before["stages"]["decode"]["after"] = "once"
    run = pipelines.run(before)
    pipelines.finish(lambda stage, _: int(stage == "once"))
    row = pipelines.row(run)
    assert (row["state"], row["reason"]) == ("failed", "stage_failed")
    assert "1 of 1 partitions of once failed" in row["message"]


def test_windows_of_the_sample_have_their_neighbours(pipelines: Pipelines) -> None:
    spec: dict[str, Any] = document() | {"canary": {"partitions": ["day-3"]}}
    spec["stages"]["check"]["after"] = [{"stage": "decode", "edge": "window", "before": 1, "after": 1}]
    run = pipelines.run(spec)
    pipelines.settle()
    assert pipelines.counts(run)["decode"] == {"pending": 3, "gated": 5}
    pipelines.work(results=making(pipelines))
    pipelines.settle()
    assert pipelines.counts(run)["check"] == {"pending": 1, "gated": 7}
    pipelines.finish(results=making(pipelines))
    assert pipelines.state(run) == "succeeded"


def test_the_sample_is_the_same_each_time_and_rather_of_what_earlier_versions_have() -> None:
    names = [f"n{number}" for number in range(1000)]
    everything = IndexRanges(((0, 1000),))
    assert choose({"count": 5}, names, everything, {}) == choose({"count": 5}, names, everything, {})
    assert len(choose({"share": 0.02}, names, everything, {})) == 20
    assert len(choose({"share": 0.0001}, names, everything, {})) == 1
    assert set(choose({"count": 2}, names, everything, {"n7": 1, "n8": 1})) == {7, 8}
    assert list(choose({"partitions": ["n1", "n9*"]}, names, IndexRanges(((0, 20),)), {})) == [1, 9]
    assert len(choose({"partitions": ["gone", "lost"]}, names, everything, {})) == 2
    assert set(choose({"count": 5}, names, everything, {})) != {0, 1, 2, 3, 4}


def test_what_stands_of_an_earlier_run_is_not_done_again_for_the_sample(pipelines: Pipelines) -> None:
    first_version(pipelines)
    run = pipelines.run(document(gates=GATES))  # the very same: all is taken over
    pipelines.finish(results=making(pipelines))
    assert pipelines.state(run) == "succeeded"
    assert [one for one in pipelines.ran if one[0] == "decode"] == []
    again = pipelines.rerun(run, redo=run_changes.Redo(stages=("check",)))
    pipelines.finish(results=making(pipelines))
    assert pipelines.state(again) == "succeeded"
    assert pipelines.row(again)["canary"]["state"] == "passed"


def test_letting_it_pass_is_a_run_of_its_own_and_is_audited(pipelines: Pipelines) -> None:
    first_version(pipelines)
    spec = document("v2", gates={"rows": "within 2%"})
    run = pipelines.run(spec)
    pipelines.finish(results=making(pipelines, rows=50))
    pipelines.apply(document("v3"))  # a later version changes nothing of what is let pass
    pipelines.ran.clear()
    with pipelines.database.transaction() as tx:
        passed = run_changes.approve(tx, pipelines.world.principal, run, "the frames were doubled before")
    pipelines.finish(results=making(pipelines, rows=50))
    assert pipelines.state(passed) == "succeeded", pipelines.row(passed)["message"]
    assert pipelines.row(passed)["version"] == pipelines.row(run)["version"]
    assert len([one for one in pipelines.ran if one[0] == "decode"]) == 5
    assert current(pipelines) == 2
    noted = pipelines.row(passed)["canary"]
    assert (noted["state"], noted["approved"]["message"]) == ("approved", "the frames were doubled before")
    with pipelines.database.transaction() as tx:
        (row,) = tx.all("select detail from audit where action = 'run:approve'")
    assert row["detail"]["gates"] == ["rows of frames within 2%"]
    with pytest.raises(Conflict, match="no gate of a canary"), pipelines.database.transaction() as tx:
        run_changes.approve(tx, pipelines.world.principal, passed, "again")


STEPS = """
import sys
from bushel.control.advance import Advancer
from bushel.store import leases
from bushel.store.database import Database
with Database(sys.argv[1]) as database:
    advancer = Advancer(database, leases.Lease(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    while advancer.step(): pass
"""


@pytest.mark.parametrize("point", ["pipelines.before_commit", "pipelines.after_commit"])
@pytest.mark.parametrize("rows", [100, 50])
def test_a_control_plane_killed_between_the_sample_and_the_rest(pipelines: Pipelines, database_url: str, point: str, rows: int) -> None:
    """docs/concepts/pipelines.md#canary: killed in the step that judges, as in every other."""
    first_version(pipelines)
    run = pipelines.run(document("v2", gates={"rows": "within 2%"}))
    kills = 0

    def killed_then_settled() -> None:
        nonlocal kills
        lease = pipelines.world.lease
        done = subprocess.run(
            [sys.executable, "-c", STEPS, database_url, lease.name, lease.holder, str(lease.epoch)],
            env={**os.environ, "BUSHEL_FAILPOINT": point}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        kills += done.returncode == -signal.SIGKILL
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        pipelines.settle()

    killed_then_settled()
    while pipelines.work(results=making(pipelines, rows=rows)):
        killed_then_settled()
    assert kills >= 3
    decoded = [one for one in pipelines.ran if one[0] == "decode"]
    assert len(decoded) == len(set(decoded)) == (8 if rows == 100 else 3)
    assert pipelines.row(run)["reason"] == (None if rows == 100 else "canary_failed")
    assert current(pipelines) == 1, "the same content is the same version, and of the other nothing is published"
