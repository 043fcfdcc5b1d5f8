"""docs/concepts/pipelines.md#taking-results-over: what a result that may be taken over names is there, however often places are swept."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bushel.control import datasets as control
from bushel.control.dataset_keeping import Keeping
from bushel.control.storage_places import put_place
from bushel.spec.dataset import NewPlace
from bushel.spec.manifest import part_text, sha256
from bushel.store import datasets
from bushel.store import runs as store
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines

PROJECT = "home/main/main"


class Writing(Pipelines):
    """Tasks write real parts into a folder, long ago, and houses are kept by the real controller."""

    def __init__(self, world: World, folder: Path) -> None:
        super().__init__(world)
        self.folder = folder
        folder.mkdir(exist_ok=True)
        with world.database.transaction() as tx:
            put_place(tx, world.principal, PROJECT, "default", NewPlace(url=str(folder)).model_dump())
        self.keeping = Keeping(world.database, world.lease, folder, age=timedelta(0))

    def write(self, content: str) -> dict[str, Any]:
        """A part of one file, and what a task says of it."""
        files = [{"name": "x", "size": len(content), "digest": sha256(content.encode()), "records": 1}]
        text = part_text(files, {}, {"columns": {}, "counters": {}})
        place = self.folder / "parts" / sha256(text).removeprefix("sha256:")
        place.mkdir(parents=True, exist_ok=True)
        for name, data in (("x", content.encode()), ("part.json", text)):
            (place / name).write_bytes(data)
            os.utime(place / name, (0, 0))
        return {"digest": sha256(text), "place": "default", "files": 1, "bytes": len(content), "records": 1}

    def is_there(self, part: dict[str, Any]) -> bool:
        return (self.folder / "parts" / part["digest"].removeprefix("sha256:") / "part.json").exists()

    def results(self, code: str) -> Any:
        def result(stage: str, name: str) -> dict[str, Any]:
            output = {"decode": "frames", "shard": "shards"}[stage]
            return {"body": {"outputs": {output: self.write(f"{code} {stage} {name}")}}}

        return result

    def delete_old_versions(self) -> None:
        """All but the current ones."""
        with self.database.transaction() as tx:
            for name in ("frames", "shards"):
                row = control.dataset_in(tx, PROJECT, name)
                for version in datasets.version_page(tx, row["id"], 2**31 - 1, 1000):
                    if version["number"] != row["current_number"]:
                        datasets.delete_version(tx, version["id"])


def document(code: str) -> dict[str, Any]:
    days = [{"name": name, "digest": f"sha256:{name}"} for name in "abc"]
    stages = {
        "decode": {"run": f"decode {code}", "outputs": {"frames": "frames"}},
        "shard": {"run": f"shard {code}", "after": "decode", "outputs": {"shards": "shards"}},
    }
    return {"name": "p", "partitions": days, "stages": stages}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["v1", "v2", "sweep", "delete"]), min_size=3, max_size=8))
def test_whatever_is_taken_over_is_there(world: World, tmp_path: Path, steps: list[str]) -> None:
    """Runs of two versions of the code, versions deleted and places swept in any order: what a run ends with is in its place."""
    pipelines = Writing(world, tmp_path / "store")
    pipelines.run(document("v1"))
    pipelines.finish(results=pipelines.results("v1"))
    for step in [*steps, "delete", "sweep", "v1"]:
        if step == "delete":
            pipelines.delete_old_versions()
        elif step == "sweep":
            stray = pipelines.write("of an attempt that was lost")
            pipelines.keeping.sweep()
            assert not pipelines.is_there(stray), "it does sweep"
        else:
            run = pipelines.run(document(step))
            pipelines.finish(results=pipelines.results(step))
            assert pipelines.state(run) == "succeeded"
            _all_there(pipelines, run)


def _all_there(pipelines: Writing, run: int) -> None:
    with pipelines.database.transaction() as tx:
        bodies = tx.all(
            "select e.body from element_results e join stage_jobs sj on sj.job_id = e.job_id"
            " join run_stages s on s.id = sj.stage_id where s.run_id = %s",
            (run,),
        )
        outputs = [made for stage in store.stages(tx, [run]) for made in stage["outputs"].values()]
        versions = [control.selected(tx, control.dataset_in(tx, PROJECT, made["dataset"]), str(made["version"])) for made in outputs]
        named = [part for version in versions for part in datasets.parts(tx, version["id"])]
    said = [part for row in bodies for part in row["body"]["outputs"].values()]
    assert len(said) == len(named) == 6
    for part in (*said, *named):
        assert pipelines.is_there(part)


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_part_that_only_a_result_names_is_kept_and_is_a_hit(world: World, tmp_path: Path, taken_over: bool) -> None:
    """Its version was deleted by retention; the work is still not done twice."""
    pipelines = Writing(world, tmp_path / "store")
    for _ in range(1 + taken_over):
        pipelines.run(document("v1"))
        pipelines.finish(results=pipelines.results("v1"))
    pipelines.run(document("v2"))
    pipelines.finish(results=pipelines.results("v2"))
    pipelines.delete_old_versions()
    pipelines.keeping.sweep()
    pipelines.ran.clear()
    run = pipelines.run(document("v1"))
    pipelines.finish(results=pipelines.results("v1"))
    assert pipelines.ran == []
    _all_there(pipelines, run)
