"""What agents report, and what comes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bushel.control.attempt_reports import parse_reports
from bushel.domain.ids import attempt_id
from tests.control.lifecycle_world import World, task


def test_a_job_runs_and_succeeds(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    agent = world.agents[0]
    answer = world.sync(agent)
    assert [wanted["id"] for wanted in answer["attempts"]] == [attempt_id(*key)]
    assert answer["attempts"][0]["placement"][0]["node"] == "n1"
    world.sync(agent, agent.report(key, "running"))
    assert world.job(job)["state"] == "running"
    answer = world.sync(agent, agent.report(key, "ended", task(exit_code=0, usage={"cpu_seconds": 1.5, "peak_memory_bytes": 4096})))
    assert answer["forget"] == [attempt_id(*key)]
    row = world.job(job)
    assert (row["state"], row["exit_code"], row["succeeded_count"]) == ("succeeded", 0, 1)
    assert world.attempt(key)["usage"] == {"cpu_seconds": 1.5, "peak_memory_bytes": 4096, "read_bytes": 0, "written_bytes": 0}
    assert world.kinds(job) == [
        "job.submitted",
        "job.starting",
        "attempt.running",
        "job.running",
        "attempt.ended",
        "job.succeeded",
    ]


def test_an_array_starts_and_runs_once_however_few_of_it_run_at_a_time(world: World) -> None:
    job, agent = world.submit(array="0-4"), world.agents[0]
    for _ in range(5):
        [key] = world.place(job)
        world.sync(agent, agent.report(key, "running"))
        world.run_to(key, 0)
    told = [kind for kind in world.kinds(job) if kind.startswith("job.")]
    assert (told.count("job.starting"), told[-1]) == (1, "job.succeeded")
    assert "job.starting" not in told[2:], told

    together = world.submit(array="0-4")
    keys = world.place(together, 5)
    for key in keys:  # each ends before the next one runs
        world.sync(agent, agent.report(key, "running"))
        world.run_to(key, 0)
    told = [kind for kind in world.kinds(together) if kind.startswith("job.")]
    assert told == ["job.submitted", "job.starting", "job.running", "job.succeeded"]


def test_a_task_that_ended_before_it_was_told_to_run_has_run_all_the_same(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    with world.database.transaction() as tx:
        created = tx.one("update attempts set created_at = now() - interval '10 s' returning created_at")["created_at"]
    started, ended = created + timedelta(seconds=1), created + timedelta(seconds=3)
    world.run_to(key, 0, started_at=started.isoformat(), ended_at=ended.isoformat())
    assert (world.attempt(key)["started_at"], world.attempt(key)["ended_at"]) == (started, ended)
    assert world.job(job)["started_at"] == started
    assert world.kinds(job) == ["job.submitted", "job.starting", "attempt.running", "attempt.ended", "job.succeeded"]
    versions = [event["version"] for event in world.told(job) if "attempt" in event]
    assert versions == [2, 3]
    assert world.attempt(key)["version"] == 3


@pytest.mark.parametrize("away_seconds", [-3600, -4, 4, 3600])
def test_the_clock_of_an_agent_is_believed_within_what_is_possible(world: World, away_seconds: float) -> None:
    job = world.submit()
    [key] = world.place(job)
    created = world.attempt(key)["created_at"]
    started, ended = (created + timedelta(seconds=away_seconds + seconds) for seconds in (0, 0.5))
    world.run_to(key, 0, started_at=started.isoformat(), ended_at=ended.isoformat())
    attempt = world.attempt(key)
    with world.database.transaction() as tx:
        assert created <= attempt["started_at"] <= attempt["ended_at"] <= tx.now
    assert world.job(job)["started_at"] == attempt["started_at"]


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-01-01", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00"]
)
def test_a_time_that_is_none_counts_for_nothing(world: World, text: str) -> None:
    job = world.submit()
    [key] = world.place(job)
    world.run_to(key, 0, started_at=text, ended_at=text)
    assert world.job(job)["state"] == "succeeded"
    assert world.attempt(key)["started_at"] >= world.attempt(key)["created_at"]


def test_an_attempt_that_never_started_has_not_run(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    agent = world.agents[0]
    world.sync(agent, agent.report(key, "ended", {"rank": 0, "state": "ended", "reason": "start_failed", "started_at": None}))
    assert world.attempt(key)["started_at"] is None
    assert world.job(job)["started_at"] is None
    assert "attempt.running" not in world.kinds(job)


def test_a_task_that_its_agent_stops_says_why(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    agent = world.agents[0]
    world.sync(agent, agent.report(key, "stopping", task("stopping", reason="time_limit")))
    assert (world.job(job)["state"], world.job(job)["reason"]) == ("stopping", "time_limit")
    world.run_to(key, 143, reason="time_limit")
    row = world.job(job)
    assert (row["state"], row["reason"], row["failure_class"]) == ("failed", "time_limit", "deadline")


def test_a_failure_says_why(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    world.run_to(key, 3)
    row = world.job(job)
    assert (row["state"], row["reason"], row["message"]) == ("failed", "exit_code", "exit code 3")
    assert (row["exit_code"], row["failure_class"]) == (3, "application")


def test_a_failure_that_the_policy_names_is_tried_again_after_its_backoff(world: World) -> None:
    job = world.submit(retry={"on": ["application"], "attempts": 2})
    [first] = world.place(job)
    world.run_to(first, 1)
    row = world.job(job)
    assert (row["state"], row["reason"], row["delayed_count"]) == ("queued", "backoff", 1)
    assert row["message"] == "attempt 1 failed: exit code 1"
    assert world.place(job) == []
    world.make_due()
    world.settle()
    assert world.job(job)["reason"] == "waiting"
    [second] = world.place(job)
    assert second == (job, 0, 2)
    world.run_to(second, 1)
    row = world.job(job)
    assert (row["state"], row["reason"], row["message"]) == ("failed", "retries_exhausted", "the last of 2 attempts: exit code 1")


def test_exit_code_75_is_queued_again_at_once_with_its_checkpoint(world: World) -> None:
    job = world.submit()
    [first] = world.place(job)
    agent = world.agents[0]
    progress = {"done": 4, "checkpoint": {"uri": "file:///ckpt/4", "step": 4}}
    world.sync(agent, agent.report(first, "running", progress=progress))
    assert world.job(job)["progress"] == progress
    world.run_to(first, 75)
    assert world.attempt(first)["outcome"] == "checkpointed"
    [second] = world.place(job)
    [wanted] = world.sync(agent)["attempts"]
    assert (wanted["id"], wanted["resume_from"]) == (attempt_id(*second), "file:///ckpt/4")


def test_a_node_at_fault_is_avoided_by_the_next_attempt(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    world.run_to(key, 1, reason="disk_full")
    with world.database.transaction() as tx:
        row = tx.one("select * from retries where job_id = %s", (job,))
    assert row["excluded_nodes"] == [world.nodes[world.agents[0].cluster_id]]
    assert (row["counted_failures"], row["uncounted_failures"], row["attempts"]) == (0, 1, 1)


def test_an_array_keeps_its_results_as_ranges(world: World) -> None:
    job = world.submit(array="0-9999")
    keys = world.place(job, 6000)
    agent = world.agents[0]
    failing = {5, 4096}
    world.sync(agent, *(agent.report(key, "ended", task(exit_code=int(key[1] in failing))) for key in keys))
    assert world.results(job) == {"succeeded": "0-4,6-4095,4097-5999", "failed": "5,4096", "cancelled": ""}
    row = world.job(job)
    assert (row["state"], row["succeeded_count"], row["failed_count"], row["pending_count"]) == ("queued", 5998, 2, 4000)
    keys = world.place(job, 10_000)
    world.sync(agent, *(agent.report(key, "ended", task(exit_code=0)) for key in keys))
    row = world.job(job)
    assert (row["state"], row["reason"]) == ("failed", "exit_code")
    assert row["message"] == "2 of 10000 indices failed; the first: exit code 1"


def test_a_gang_succeeds_only_if_every_rank_said_so(world: World) -> None:
    whole, part = world.submit(), world.submit()
    agent = world.agents[0]
    [first], [second] = world.place(whole, ranks=3), world.place(part, ranks=3)
    world.sync(
        agent,
        agent.report(first, "ended", *(task(exit_code=0, rank=rank) for rank in range(3))),
        agent.report(second, "ended", *(task(exit_code=0, rank=rank) for rank in (0, 2))),
    )
    assert world.job(whole)["state"] == "succeeded"
    assert world.attempt(second)["reason"] == "task_lost"
    assert world.job(part)["state"] == "queued"


def test_the_rank_that_failed_first_explains_a_gang(world: World) -> None:
    job = world.submit()
    [key] = world.place(job, ranks=2)
    agent = world.agents[0]
    ends = task(exit_code=143, rank=0, reason="sibling_failed"), task(exit_code=7, rank=1)
    world.sync(agent, agent.report(key, "ended", *ends))
    assert (world.job(job)["exit_code"], world.job(job)["reason"]) == (7, "exit_code")


def test_an_older_or_doubled_report_changes_nothing(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    agent = world.agents[0]
    started, running = agent.report(key, "starting"), agent.report(key, "running")
    world.sync(agent, running)
    before = world.attempt(key), world.job(job), world.kinds(job)
    world.sync(agent, started, running)
    assert (world.attempt(key), world.job(job), world.kinds(job)) == before
    ended = agent.report(key, "ended", task(exit_code=0))
    world.sync(agent, ended)
    before = world.attempt(key), world.job(job), world.kinds(job)
    answer = world.sync(agent, agent.report(key, "ended", task(exit_code=1)), agent.report(key, "running"))
    assert (world.attempt(key), world.job(job), world.kinds(job)) == before
    assert answer["forget"] == [] or answer["forget"] == [attempt_id(*key)]


def test_an_agent_can_say_nothing_about_attempts_of_another_cluster(world: World) -> None:
    job = world.submit()
    [key] = world.place(job, cluster=0)
    liar = world.agents[1]
    before = world.attempt(key), world.job(job), world.kinds(job)
    answer = world.sync(
        liar, liar.report(key, "ended", task(exit_code=0)), liar.report((job, 0, 9), "running"), liar.report((999, 0, 1), "ended")
    )
    assert (world.attempt(key), world.job(job), world.kinds(job)) == before
    assert answer["complete"]
    assert answer["attempts"] == []


def test_impossible_steps_change_nothing(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    agent = world.agents[0]
    world.sync(agent, agent.report(key, "stopping"))
    before = world.attempt(key)["state"]
    world.sync(agent, agent.report(key, "ended", task("running")))
    assert world.attempt(key)["state"] == before == "stopping"
    world.run_to(key, 0)
    assert world.job(job)["state"] == "succeeded"


def test_an_attempt_that_a_complete_report_lacks_is_lost(world: World) -> None:
    job = world.submit()
    [key] = world.place(job)
    agent = world.agents[0]
    world.sync(agent, complete=True)
    assert world.attempt(key)["state"] == "starting", "the agent had not heard of it when it sent that report"
    world.sync(agent, complete=True)
    row = world.attempt(key)
    assert (row["state"], row["outcome"], row["reason"], row["failure_class"]) == ("ended", "lost", "task_lost", "infrastructure")
    assert world.job(job)["state"] == "queued"


@pytest.mark.parametrize(
    "odd",
    [
        {"id": "no.such.thing"},
        {"id": "k7q2m.99999999999.1"},
        {"report_version": 2**70},
        {"report_version": -1},
        {"tasks": [{"rank": 2**40, "state": "ended", "exit_code": 0}]},
        {"tasks": [{"rank": 7, "state": "running"}]},
        {"tasks": [{"rank": 0, "state": "running", "exit_code": 10**30, "signal": -4, "message": "\0\ud800", "reason": "bored"}]},
        {"tasks": [{"rank": 0, "state": "running", "usage": {"cpu_seconds": float("nan"), "read_bytes": 10**40}}]},
        {"progress": {"x": "\0"}},
        {"progress": {"x": float("inf")}},
        {"progress": {"x": "\ud800"}},
        {"progress": {"x": "y" * 100_000}},
    ],
)
def test_nonsense_is_left_aside(world: World, odd: dict[str, Any]) -> None:
    job = world.submit()
    [key] = world.place(job)
    agent = world.agents[0]
    world.sync(agent, agent.report(key, "running") | odd)
    assert world.job(job)["state"] in ("starting", "running")
    world.run_to(key, 0)
    assert world.job(job)["state"] == "succeeded"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "id": st.text() | st.just("0hf8z.0.1"),
                "report_version": st.integers(),
                "state": st.sampled_from(["running", "ended", "odd"]),
            },
            optional={
                "tasks": st.lists(st.dictionaries(st.sampled_from(["rank", "state", "exit_code", "usage", "message"]), _JSON)),
                "progress": _JSON,
            },
        )
    )
)
def test_any_report_can_be_read(reports: list[dict[str, Any]]) -> None:
    parse_reports(reports)


def test_the_report_of_an_end_ends_an_empty_log_of_its_own_cluster(world: World) -> None:
    """Also when the attempt had ended without it, and never that of another cluster's attempt."""
    silent, late, foreign = (world.place(world.submit(), cluster=cluster)[0] for cluster in (0, 0, 1))
    world.run_to(late, 0)
    world.run_to(foreign, 0, cluster=1)
    agent = world.agents[0]
    world.sync(agent, *(agent.report(key, "ended", task(exit_code=0, log_bytes=0)) for key in (silent, late, foreign)))
    with world.database.transaction() as tx:
        logs = tx.all("select job_id, index, attempt, rank, size_bytes from log_streams where ended_at is not null order by job_id")
    assert [tuple(row.values()) for row in logs] == [(*silent, 0, 0), (*late, 0, 0)]
