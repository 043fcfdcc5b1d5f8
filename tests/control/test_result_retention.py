"""docs/concepts/pipelines.md#taking-results-over: results go some time after their run, and never one that is needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bushel.control.dataset_keeping import NAMED_BY_RESULTS
from bushel.control.result_retention import RETENTION_DAYS, free_results, free_run
from bushel.domain.errors import Conflict
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines
from tests.control.test_pipeline_cached_parts import Writing, document


def kept(pipelines: Pipelines, run: int) -> int:
    with pipelines.database.transaction() as tx:
        return tx.one(
            "select count(*) as kept from element_results e join stage_jobs sj on sj.job_id = e.job_id"
            " join run_stages s on s.id = sj.stage_id where s.run_id = %s",
            (run,),
        )["kept"]


def age(pipelines: Pipelines, *runs: int) -> None:
    """As if they had ended, and been looked through, longer ago than results are kept."""
    with pipelines.database.transaction() as tx:
        tx.execute(
            "update runs set ended_at = ended_at - make_interval(days => %(days)s),"
            " results_freed_at = results_freed_at - make_interval(days => %(days)s) where id = any(%(runs)s)",
            {"days": RETENTION_DAYS + 1, "runs": list(runs)},
        )


def free(pipelines: Pipelines) -> int:
    return free_results(pipelines.database, pipelines.world.lease)


def test_results_go_with_their_run_and_the_versions_that_hold_what_they_wrote(world: World, tmp_path: Path) -> None:
    pipelines = Writing(world, tmp_path / "store")
    first = pipelines.run(document("v1"))
    pipelines.finish(results=pipelines.results("v1"))
    second = pipelines.run(document("v2"))
    pipelines.finish(results=pipelines.results("v2"))
    assert free(pipelines) == 0, "both runs have just ended"
    age(pipelines, first)
    assert free(pipelines) == 0, "versions hold what they wrote"
    pipelines.delete_old_versions()
    assert free(pipelines) == 0, "it was looked through today"
    age(pipelines, first)
    assert (free(pipelines), kept(pipelines, first), kept(pipelines, second)) == (6, 0, 6)
    age(pipelines, first, second)
    assert free(pipelines) == 0, "what is current is kept for as long as it is"
    pipelines.ran.clear()
    pipelines.run(document("v2"))
    pipelines.finish(results=pipelines.results("v2"))
    assert pipelines.ran == []
    pipelines.run(document("v1"))
    pipelines.finish(results=pipelines.results("v1"))
    assert len(pipelines.ran) == 6, "what was forgotten is done again"


def test_what_was_taken_over_outlives_the_run_that_made_it(world: World, tmp_path: Path) -> None:
    pipelines = Writing(world, tmp_path / "store")
    first = pipelines.run(document("v1"))
    pipelines.finish(results=pipelines.results("v1"))
    second = pipelines.run(document("v1"))
    pipelines.finish(results=pipelines.results("v1"))
    pipelines.run(document("v2"))
    pipelines.finish(results=pipelines.results("v2"))
    pipelines.delete_old_versions()
    age(pipelines, first)
    assert (free(pipelines), kept(pipelines, second)) == (6, 6)
    pipelines.ran.clear()
    pipelines.run(document("v1"))
    pipelines.finish(results=pipelines.results("v1"))
    assert pipelines.ran == []


def test_a_run_that_others_stand_on_keeps_its_results_and_nothing_stands_on_one_without(world: World) -> None:
    pipelines = Pipelines(world)
    stages = {"one": {"run": "true", "cache": "always"}, "two": {"run": "true", "after": "one", "cache": "always"}}
    first = pipelines.run({"name": "p", "partitions": ["a", "b"], "stages": stages})
    pipelines.finish(lambda stage, name: int((stage, name) == ("two", "b")))
    second = pipelines.rerun(first)
    pipelines.finish()
    age(pipelines, first)
    assert (free(pipelines), kept(pipelines, first)) == (0, 3), "the second run stands on it"
    assert pipelines.state(pipelines.rerun(first)) == "running"
    pipelines.finish()
    with pipelines.database.transaction() as tx:
        everything = [row["id"] for row in tx.all("select id from runs order by id")]
    age(pipelines, *everything[1:])
    assert free(pipelines) > 0, "those that stood on it"
    assert kept(pipelines, second) == 0
    assert free(pipelines) == 3, "then it itself"
    with pytest.raises(Conflict, match="not kept any more"):
        pipelines.rerun(first)


def test_a_run_that_was_marked_while_another_began_to_stand_on_it_keeps_its_results(world: World) -> None:
    pipelines = Pipelines(world)
    first = pipelines.run({"name": "p", "partitions": ["a"], "stages": {"one": {"run": "true", "cache": "always"}}})
    pipelines.finish()
    second = pipelines.rerun(first)
    pipelines.finish()
    with pipelines.database.transaction() as tx:  # by a statement that did not see the second yet
        tx.execute("update runs set results_freed_at = now() where id = %s", (first,))
    assert (free_run(pipelines.database, world.lease, first), kept(pipelines, first)) == (0, 1)
    assert pipelines.row(first)["results_freed_at"] is None
    with pipelines.database.transaction() as tx:
        tx.execute("update runs set results_freed_at = now() where id = any(%s)", ([first, second],))
    assert (free_run(pipelines.database, world.lease, first), kept(pipelines, first)) == (1, 0)


STEP = """
import sys
from bushel.control.result_retention import free_results
from bushel.store import leases
from bushel.store.database import Database
with Database(sys.argv[1]) as database:
    with database.transaction() as tx:
        lease = leases.acquire(tx, "control", "test", 60)
    free_results(database, lease)
"""


@pytest.mark.parametrize("point", ["result_retention.after_runs_marked", "result_retention.after_chunk_freed"])
def test_what_is_killed_in_between_is_done_a_day_later(world: World, point: str) -> None:
    pipelines = Pipelines(world)
    stages = {name: {"run": "true", "cache": "always"} for name in ("one", "two")}
    run = pipelines.run({"name": "p", "partitions": ["a", "b"], "stages": stages})
    pipelines.finish()
    age(pipelines, run)
    with pipelines.database.transaction() as tx:
        tx.execute("delete from leases")
    words = [sys.executable, "-c", STEP, pipelines.database.url]
    killed = subprocess.run(words, env={**os.environ, "BUSHEL_FAILPOINT": point}, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(Conflict, match="not kept any more"):
        pipelines.rerun(run)
    age(pipelines, run)
    done = subprocess.run(words, timeout=60, check=False)
    assert (done.returncode, kept(pipelines, run)) == (0, 0)
    with pipelines.database.transaction() as tx:
        assert not tx.one("select results_left from runs where id = %s", (run,))["results_left"], "it is not looked through again"


def test_the_sweep_finds_by_index_what_results_name(world: World) -> None:
    with world.database.transaction() as tx:
        tx.execute("set local enable_seqscan = off")
        plan = "\n".join(row["QUERY PLAN"] for row in tx.all(f"explain {NAMED_BY_RESULTS}", (["sha256:00"],)))
    assert "element_results_parts" in plan, plan
