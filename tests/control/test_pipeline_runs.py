"""docs/concepts/pipelines.md: runs go on as their partitions finish, each partition once."""

from __future__ import annotations

from typing import Any

import pytest

from bushel.domain.errors import Conflict, InvalidDocument
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines, listing, two_stages


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


def test_what_is_made_of_a_failed_partition_is_not_done_and_the_rest_is(pipelines: Pipelines) -> None:
    run = pipelines.run(two_stages())
    pipelines.finish(lambda stage, name: int((stage, name) == ("first", "b")))
    assert pipelines.counts(run) == {"first": {"succeeded": 2, "failed": 1}, "second": {"succeeded": 2, "cancelled": 1}}
    row = pipelines.row(run)
    assert row["state"] == "failed"
    assert "1 of 3 partitions of first failed" in row["message"]


def test_all_to_one_waits_for_every_partition(pipelines: Pipelines) -> None:
    document = two_stages()
    document["stages"]["sum"] = {"once": True, "run": "true", "after": "second"}
    run = pipelines.run(document)
    pipelines.settle()
    while pipelines.work(most=1):
        pipelines.settle()
        if ("sum", "all") not in pipelines.ran:
            assert pipelines.stages(run)["sum"]["state"] == "running"
    assert pipelines.ran[-1] == ("sum", "all")
    assert pipelines.state(run) == "succeeded"


def test_all_to_one_with_on_end_takes_failures_as_done(pipelines: Pipelines) -> None:
    document = two_stages()
    document["stages"]["sum"] = {"once": True, "run": "true", "after": [{"stage": "first", "on": "end"}]}
    run = pipelines.run(document)
    pipelines.finish(lambda stage, name: int(name == "a"))
    assert ("sum", "all") in pipelines.ran
    assert pipelines.state(run) == "failed"


def test_one_to_all_opens_everything_at_once(pipelines: Pipelines) -> None:
    document = two_stages()
    document["stages"]["first"] |= {"once": True}
    run = pipelines.run(document)
    pipelines.settle()
    assert pipelines.counts(run)["second"] == {"gated": 3}
    pipelines.work()
    pipelines.settle()
    assert pipelines.counts(run)["second"] == {"pending": 3}


def test_a_window_waits_for_its_neighbours(pipelines: Pipelines) -> None:
    document = two_stages("abcde")
    document["stages"]["second"]["after"] = [{"stage": "first", "edge": "window", "before": 1, "after": 1}]
    run = pipelines.run(document)
    pipelines.settle()
    pipelines.work(most=2)  # a and b
    pipelines.settle()
    assert pipelines.counts(run)["second"] == {"pending": 1, "gated": 4}
    pipelines.work(lambda stage, name: int(name == "d"))
    pipelines.settle()
    pipelines.finish()
    assert pipelines.counts(run)["second"] == {"succeeded": 2, "cancelled": 3}


def test_a_stage_of_two_others_waits_for_both(pipelines: Pipelines) -> None:
    document = two_stages()
    document["stages"]["third"] = {"run": "true", "after": ["first", "second"]}
    run = pipelines.run(document)
    pipelines.settle()
    pipelines.work(most=3)
    pipelines.settle()
    assert pipelines.counts(run)["third"] == {"gated": 3}
    pipelines.finish()
    assert pipelines.state(run) == "succeeded"


def test_partitions_are_listed_while_the_run_goes_on(pipelines: Pipelines) -> None:
    document = two_stages(partitions={"discovered_by": "list"})
    document["stages"]["list"] = {"once": True, "run": "ls"}
    run = pipelines.run(document)
    pipelines.finish(results=lambda stage, _: listing("x", '{"name": "y", "digest": "1"}') if stage == "list" else None)
    assert sorted(pipelines.ran) == [("first", "x"), ("first", "y"), ("list", "all"), ("second", "x"), ("second", "y")]
    assert pipelines.state(run) == "succeeded"


def test_every_partition_may_list_further_ones(pipelines: Pipelines) -> None:
    document = two_stages("ab")
    document["stages"]["second"] |= {"partitions": {"discovered_by": "first"}}
    run = pipelines.run(document)
    pipelines.finish(results=lambda stage, name: listing(f"{name}1", f"{name}2") if stage == "first" else None)
    assert [name for stage, name in pipelines.ran if stage == "second"] == ["a1", "a2", "b1", "b2"]
    assert pipelines.state(run) == "succeeded"


def test_no_partitions_at_all_are_a_success(pipelines: Pipelines) -> None:
    document = two_stages(partitions={"discovered_by": "list"})
    document["stages"] |= {"list": {"once": True, "run": "ls"}, "sum": {"once": True, "run": "true", "after": "second"}}
    run = pipelines.run(document)
    pipelines.finish()
    assert pipelines.ran == [("list", "all"), ("sum", "all")]
    assert pipelines.state(run) == "succeeded"


@pytest.mark.parametrize("listed", [["x", "x"], ['{"name": 3}'], ['{"name": "x", "site": "nowhere"}'], ["{"], ["y" * 300]])
def test_a_list_that_cannot_be_used_fails_the_stages_over_it(pipelines: Pipelines, listed: list[str]) -> None:
    document = two_stages(partitions={"discovered_by": "list"})
    document["stages"]["list"] = {"once": True, "run": "ls"}
    run = pipelines.run(document)
    pipelines.finish(results=lambda stage, _: listing(*listed) if stage == "list" else None)
    assert pipelines.state(run) == "failed"
    assert "cannot be used" in pipelines.row(run)["message"]


def test_a_limit_of_the_pipeline_holds_over_all_runs_and_fresh_data_goes_first(pipelines: Pipelines) -> None:
    document = two_stages("abcd", limits={"running": 3})
    old = pipelines.run(document, backfill=True)
    new = pipelines.run(document)
    pipelines.settle()
    assert pipelines.counts(new)["first"] == {"pending": 3, "gated": 1}
    assert pipelines.counts(old)["first"] == {"gated": 4}
    while pipelines.work(most=1):
        pipelines.settle()
        assert sum(len(row[4]) for row in pipelines.pending()) <= 3
    assert {pipelines.state(old), pipelines.state(new)} == {"succeeded"}


def test_back_fills_have_the_lower_priority(pipelines: Pipelines) -> None:
    for backfill, priority in ((False, 500), (True, 250)):
        run = pipelines.run(two_stages(), backfill=backfill)
        with pipelines.database.transaction() as tx:
            rows = tx.all(
                "select distinct j.priority from jobs j join stage_jobs sj on sj.job_id = j.id join run_stages s on s.id = sj.stage_id"
                " where s.run_id = %s",
                (run,),
            )
        assert [row["priority"] for row in rows] == [priority]


def test_partitions_stay_at_their_site(pipelines: Pipelines) -> None:
    with pipelines.database.transaction() as tx:
        tx.execute("insert into sites (name) values ('there')")
    document = two_stages(["a", {"name": "b", "site": "there"}, "c"])
    run = pipelines.run(document)
    with pipelines.database.transaction() as tx:
        rows = tx.all(
            "select sj.site, j.spec ->> 'array' as indices, j.spec -> 'placement' -> 'sites' as sites from stage_jobs sj"
            " join jobs j on j.id = sj.job_id join run_stages s on s.id = sj.stage_id where s.run_id = %s and s.name = 'second' order by 1",
            (run,),
        )
    assert [(row["site"], row["indices"], row["sites"]) for row in rows] == [("there", "2", ["there"]), (None, "0-1", None)]
    pipelines.finish()
    assert pipelines.state(run) == "succeeded"
    document["stages"]["second"]["placement"] = {"sites": ["here"]}
    with pytest.raises(Conflict, match="have to stay at there"):
        pipelines.run(document)


def test_a_paused_run_opens_nothing_until_it_is_resumed(pipelines: Pipelines) -> None:
    run = pipelines.run(two_stages())
    pipelines.settle()
    pipelines.pause(run, True)
    pipelines.settle()
    assert pipelines.work() == 0
    pipelines.pause(run, False)
    pipelines.finish()
    assert pipelines.state(run) == "succeeded"


def test_a_cancelled_run_ends_and_starts_nothing_more(pipelines: Pipelines) -> None:
    document = two_stages(partitions={"discovered_by": "list"})
    document["stages"]["list"] = {"once": True, "run": "ls"}
    run = pipelines.run(document)
    pipelines.settle()
    pipelines.cancel(run)
    pipelines.cancel(run)
    pipelines.finish()
    assert pipelines.ran == []
    assert pipelines.state(run) == "cancelled"


def test_a_run_past_its_deadline_is_stopped(pipelines: Pipelines) -> None:
    run = pipelines.run(two_stages(deadline="1h"))
    pipelines.settle()
    with pipelines.database.transaction() as tx:
        tx.execute("update runs set deadline_at = now() - interval '1 s'")
    pipelines.finish()
    assert pipelines.row(run)["reason"] == "deadline"
    assert pipelines.state(run) == "failed"


def test_too_many_bad_records_stop_the_run(pipelines: Pipelines) -> None:
    def records(stage: str, name: str) -> dict[str, Any]:
        return {"body": {"records": {"total": 10, "bad": 2, "list": [{"record": "7", "error": "broken"}]}}}

    run = pipelines.run(two_stages("abcdef", bad_records={"most": 3}))
    pipelines.settle()
    pipelines.work(results=records, most=1)
    pipelines.settle()
    assert pipelines.state(run) == "running"
    pipelines.work(results=records, most=1)
    pipelines.finish(results=records)
    assert pipelines.row(run)["reason"] == "bad_records"
    assert pipelines.state(run) == "failed"
    assert len(pipelines.ran) < 6


def test_choosing_partitions(pipelines: Pipelines) -> None:
    document = two_stages(["2026-01-01", "2026-01-02", "2026-02-01"])
    pipelines.run(document, chosen=["2026-01-*"])
    pipelines.finish()
    assert sorted({name for _, name in pipelines.ran}) == ["2026-01-01", "2026-01-02"]
    with pytest.raises(InvalidDocument, match="no partition is called x"):
        pipelines.run(document, chosen=["x"])


def test_windows_of_time_are_named_by_their_beginning(pipelines: Pipelines) -> None:
    windows = {"every": "1d", "start": "2026-01-01T00:00:00Z", "end": "2026-01-04T00:00:00Z"}
    pipelines.run(two_stages(partitions={"windows": windows}))
    pipelines.finish()
    assert sorted({name for _, name in pipelines.ran}) == ["2026-01-01", "2026-01-02", "2026-01-03"]


def test_one_run_that_cannot_be_carried_on_does_not_keep_the_others(pipelines: Pipelines) -> None:
    bad, good = pipelines.run(two_stages()), pipelines.run(two_stages())
    with pipelines.database.transaction() as tx:
        tx.execute("update run_stages set name = 'gone' where run_id = %s and name = 'first'", (bad,))
    pipelines.finish()
    assert pipelines.state(good) == "succeeded"
    assert pipelines.state(bad) == "running"
