"""docs/guides/pipelines.md#while-it-goes-on: where the partitions of a stage ran, and what that took, is added up as they finish."""

from __future__ import annotations

from bushel.api.run_views import full_run_view
from bushel.store import runs
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines, two_stages


def test_every_attempt_counts_once_at_the_cluster_that_had_it(world: World) -> None:
    pipelines = Pipelines(world)
    run = pipelines.run(two_stages())
    pipelines.settle()
    pipelines.work(lambda _, name: int(name == "b"))
    pipelines.settle()
    pipelines.finish()
    again = pipelines.rerun(run)
    pipelines.finish()
    for number, partitions in ((run, [3, 2]), (again, [1, 1])):
        with pipelines.database.transaction() as tx:
            found = runs.read(tx, number)
            assert found is not None
            stages = full_run_view(tx, found)["stages"]
            attempts = tx.all(
                "select s.name, count(*) as attempts, sum(extract(epoch from a.ended_at - a.started_at))::float8 as seconds,"
                " coalesce(sum((a.usage ->> 'cpu_seconds')::float8), 0) as cpu_seconds"
                " from attempts a join stage_jobs j on j.job_id = a.job_id join run_stages s on s.id = j.stage_id"
                " where s.run_id = %s group by s.name order by s.name",
                (number,),
            )
        spent = [stage["spent"] for stage in stages]
        assert [sum(one["partitions"] for one in each) for each in spent] == partitions
        told = {stage["name"]: stage["spent"] for stage in stages}
        for row in attempts:
            (one,) = told[row["name"]]
            assert one["attempts"] == row["attempts"]
            assert abs(one["seconds"] - row["seconds"]) < 0.01
            assert abs(one["cpu_seconds"] - row["cpu_seconds"]) < 0.01
