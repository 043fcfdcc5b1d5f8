"""A world of runs without processes: pipelines are applied, their controller steps, and what is opened ends as the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from bushel.control import runs
from bushel.control.advance import Advancer
from bushel.control.pipelines import apply, document_of
from bushel.control.run_changes import cancel_run, rerun, set_run_paused
from bushel.spec.pipeline_canonical import canonical_pipeline
from bushel.store import partitions
from bushel.store import runs as store
from tests.control.lifecycle_world import World

Ending = Callable[[str, str], int]
"""Stage and partition → exit code."""


def succeed(_stage: str, _partition: str) -> int:
    return 0


class Pipelines:
    """Drives the controller of runs over a `World`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.database = world.database
        self.advancer = Advancer(world.database, world.lease)
        self.ran: list[tuple[str, str]] = []

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        with self.database.transaction() as tx:
            return apply(tx, self.world.principal, canonical_pipeline(document), "home/main/main")[0]

    def run(self, document: dict[str, Any], **options: Any) -> int:
        pipeline = self.apply(document)
        with self.database.transaction() as tx:
            newest = document_of(tx, pipeline)
            return runs.begin(tx, self.world.principal, pipeline, newest, pipeline["version"], self.world.queue_id, **options)

    def rerun(self, run_id: int, **options: Any) -> int:
        with self.database.transaction() as tx:
            return rerun(tx, self.world.principal, run_id, **options)

    def pause(self, run_id: int, paused: bool) -> None:
        with self.database.transaction() as tx:
            set_run_paused(tx, self.world.principal, run_id, paused)

    def cancel(self, run_id: int) -> None:
        with self.database.transaction() as tx:
            cancel_run(tx, self.world.principal, run_id)

    def settle(self) -> None:
        for _ in range(1000):
            if not self.advancer.step():
                return
        raise AssertionError("the controller never comes to rest")

    def pending(self) -> list[tuple[int, str, int, int, list[int]]]:
        """Job, stage, run, set of partitions, and the indices that may start."""
        with self.database.transaction() as tx:
            rows = tx.all(
                "select id, spec -> 'stage' as stage,"
                " array(select generate_series(lower(r), upper(r) - 1) from unnest(pending) r) as pending"
                " from jobs where is_stage and pending_count > 0 and not user_hold order by id"
            )
        return [(row["id"], row["stage"]["stage"], row["stage"]["run"], row["stage"]["set"], row["pending"]) for row in rows]

    def work(
        self, ending: Ending = succeed, results: Callable[[str, str], dict[str, Any] | None] = lambda *_: None, most: int = 10_000
    ) -> int:
        """Run what is pending to its end, once. How many."""
        done = 0
        for job_id, stage, _, set_id, indices in self.pending():
            keys = self.world.place(job_id, min(len(indices), most - done))
            with self.database.transaction() as tx:
                names = partitions.names(tx, ((set_id, key[1]) for key in keys))
            reports = []
            agent = self.world.agents[0]
            for key in keys:
                name = names[set_id, key[1]][0]
                self.ran.append((stage, name))
                task: dict[str, Any] = {"rank": 0, "state": "ended", "started_at": "2026-01-01T00:00:00Z", "exit_code": ending(stage, name)}
                result = results(stage, name)
                if result is not None:
                    task["result"] = result
                reports.append(agent.report(key, "ended", task))
            if reports:
                self.world.sync(agent, *reports)
            done += len(keys)
            if done >= most:
                break
        return done

    def finish(self, ending: Ending = succeed, results: Callable[[str, str], dict[str, Any] | None] = lambda *_: None) -> None:
        """Until nothing is left to do."""
        self.settle()
        while self.work(ending, results):
            self.settle()

    def state(self, run_id: int) -> str:
        with self.database.transaction() as tx:
            row = store.read(tx, run_id)
        assert row is not None
        return row["state"]

    def row(self, run_id: int) -> dict[str, Any]:
        with self.database.transaction() as tx:
            return store.read(tx, run_id) or {}

    def stages(self, run_id: int) -> dict[str, dict[str, Any]]:
        with self.database.transaction() as tx:
            return {row["name"]: row for row in store.stages(tx, [run_id])}

    def counts(self, run_id: int) -> dict[str, dict[str, int]]:
        with self.database.transaction() as tx:
            rows = tx.all(
                "select s.name, sum(j.gated_count) as gated, sum(j.pending_count) as pending, sum(j.succeeded_count) as succeeded,"
                " sum(j.failed_count) as failed, sum(j.cancelled_count) as cancelled"
                " from run_stages s join stage_jobs sj on sj.stage_id = s.id join jobs j on j.id = sj.job_id"
                " where s.run_id = %s group by s.name",
                (run_id,),
            )
        return {row["name"]: {place: int(count) for place, count in row.items() if place != "name" and count} for row in rows}

    def set_result(self, run_id: int, stage: str, index: int, body: dict[str, Any]) -> None:
        with self.database.transaction() as tx:
            tx.execute(
                "insert into element_results (job_id, index, attempt, body) select sj.job_id, %s, 1, %s from stage_jobs sj"
                " join run_stages s on s.id = sj.stage_id where s.run_id = %s and s.name = %s",
                (index, Jsonb(body), run_id, stage),
            )


def listing(*names: str) -> dict[str, Any]:
    """The result of a task that lists partitions, as an agent sends it."""
    import zlib
    from base64 import b64encode

    return {"names": b64encode(zlib.compress("\n".join(names).encode())).decode()}


def two_stages(names: Sequence[Any] = ("a", "b", "c"), **fields: Any) -> dict[str, Any]:
    return {
        "name": "p",
        "partitions": list(names),
        "stages": {"first": {"run": "true"}, "second": {"run": "true", "after": "first"}},
        **fields,
    }
