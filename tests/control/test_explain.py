"""Why a job waits, on real PostgreSQL: docs/concepts/scheduling.md#reasons"""

from __future__ import annotations

from typing import Any

import pytest

from bushel.control.cancel import cancel_job
from bushel.control.explain import explain, explainer_of, would_start
from bushel.control.queues import change_queue
from bushel.domain.errors import NotFound
from bushel.domain.ids import encode_job_id
from bushel.domain.principal import Principal
from bushel.spec.canonical import canonical
from bushel.spec.tenancy import QueueChange
from bushel.store.database import Database
from bushel.workloads.compile import compile_job
from tests.control.farm import make_farm, node, rows, run_dry, scheduler, submit_job
from tests.control.lifecycle_world import World


@pytest.fixture
def farm(database: Database) -> World:
    return make_farm(database)


def asked(farm: World, job_id: int) -> Any:
    return explain(farm.database, farm.principal, encode_job_id(job_id))


def codes(explanation: Any, *, blocking: bool = True) -> set[str]:
    return {reason["code"] for reason in explanation["reasons"] if reason["blocking"] is blocking}


def test_it_counts_what_is_in_the_way_node_by_node(farm: World) -> None:
    submit_job(farm, 2, resources={"cpu": 4, "memory": "1GiB"}, placement={"clusters": ["c0"]})
    run_dry(scheduler(farm).step)
    (job_id,) = submit_job(farm, resources={"cpu": 2, "memory": "1GiB"}, placement={"clusters": ["c0"]})
    explanation = asked(farm, job_id)
    assert not explanation["starts_now"]
    found = {(reason["code"], reason["count"]): reason["sentence"] for reason in explanation["reasons"]}
    assert found["busy", 2] == "2 nodes have less than 2 CPUs free"
    assert found["cluster", 2] == "2 nodes are outside the cluster c0"
    assert "has waited" in explanation["sentence"]


def test_it_has_waited_since_it_came_back_to_the_queue(farm: World) -> None:
    (job_id,) = submit_job(farm, retry={"attempts": 3, "on": ["infrastructure"], "backoff": "90s"})
    with farm.database.transaction() as tx:
        tx.execute("update jobs set submitted_at = now() - interval '2 hours' where id = %s", (job_id,))
        tx.execute("update clusters set lease_expires_at = now()")
    assert "has waited 2 h" in asked(farm, job_id)["sentence"]
    for agent in farm.agents:
        farm.sync(agent)
    run_dry(scheduler(farm).step)
    farm.run_to((job_id, 0, 1), 1, reason="disk_full")
    explanation = asked(farm, job_id)
    assert explanation["waited_seconds"] < 60
    assert "has waited less than 1 s" in explanation["sentence"]
    assert explanation["waiting_since"] == farm.attempt((job_id, 0, 1))["ended_at"].isoformat()


def test_nodes_that_are_lost_are_counted(farm: World) -> None:
    scheduler(farm).step()
    asked(farm, *submit_job(farm, resources={"cpu": 64}))  # from now on the answers are kept up to date by events
    (job_id,) = submit_job(farm, resources={"cpu": 4, "memory": "8GiB"}, placement={"clusters": ["c0"]})
    lost = [node(f"c0-n{number}", gpu=2000 if number == 2 else 0, state="lost") for number in (1, 2)]
    farm.sync(farm.agents[0], nodes=lost, complete=True)
    for _ in range(2):
        found = {(reason["code"], reason["count"]): reason["sentence"] for reason in asked(farm, job_id)["reasons"]}
        assert found["node_lost", 2] == "2 nodes are lost"
        explainer_of(farm.database)._keeper.forget()
    assert scheduler(farm).step() == 0
    farm.sync(farm.agents[0], nodes=[node("c0-n1")], complete=True)
    assert asked(farm, job_id)["starts_now"]


def test_what_would_start_it_is_true_when_it_is_done(farm: World) -> None:
    """Each alternative is submitted, and starts."""
    submit_job(farm, 3, resources={"cpu": 3, "memory": "1GiB"})
    run_dry(scheduler(farm).step)
    (job_id,) = submit_job(farm, resources={"cpu": 4, "memory": "8GiB"}, placement={"clusters": ["c0"]})
    explanation = asked(farm, job_id)
    offered = {other["field"]: other for other in explanation["would_start"]}
    assert offered["cpu"]["sentence"] == "with 1 CPU instead of 4"
    assert offered["cpu"]["now"] == 1000
    changes: dict[str, dict[str, Any]] = {
        "cpu": {"resources": {"cpu": 1, "memory": "8GiB"}, "placement": {"clusters": ["c0"]}},
        "sites": {"resources": {"cpu": 4, "memory": "8GiB"}, "placement": {"sites": ["here"]}},
    }
    assert set(offered) == {*changes, "ends", "priority"}
    assert offered["ends"]["sentence"].startswith("when "), "it ends before the one that waits could start"
    assert "(preempts 1 job, " in offered["priority"]["sentence"]
    assert offered["priority"]["preempts"]["lost_of"] == "CPU"
    for document in changes.values():
        (changed,) = submit_job(farm, **document)
        assert asked(farm, changed)["starts_now"]
        assert run_dry(scheduler(farm).step) == 1
        assert len(farm.live(changed)) == 1
        with farm.database.transaction() as tx:
            cancel_job(tx, farm.principal, changed, None)
            tx.execute("update attempts set state = 'ended', outcome = 'cancelled', ended_at = now() where job_id = %s", (changed,))
        explainer_of(farm.database)._keeper.forget()


def test_a_gang_is_told_how_much_of_it_fits_together(farm: World) -> None:
    (job_id,) = submit_job(farm, nodes=3, resources={"cpu": 4, "memory": "1GiB"})
    explanation = asked(farm, job_id)
    assert "2 clusters have room for some, at most 2 of 3 together" in explanation["sentence"]
    assert explanation["would_start"][0]["sentence"] == "with 2 nodes instead of 3"


def test_a_quota_in_the_way_is_named_with_its_numbers(farm: World) -> None:
    with farm.database.transaction() as tx:
        change_queue(tx, farm.principal, "main", QueueChange.model_validate({"resource_quota": {"cpu": 3}}))
    jobs = submit_job(farm, 4)
    run_dry(scheduler(farm).step)
    (quota,) = [reason for reason in asked(farm, jobs[3])["reasons"] if reason["topic"] == "quota"]
    assert quota["sentence"] == "main holds 3 CPUs of the 3 CPUs it may; this needs 1 CPU more"
    assert quota["detail"] == {"queue": "main", "resource": "cpu", "limit": 3000, "used": 3000, "needed": 1000}


def test_a_hold_a_dependency_and_a_backoff_are_said_from_the_jobs_own_rows(farm: World) -> None:
    (parent,) = submit_job(farm, name="prepare", hold=True)
    assert codes(asked(farm, parent)) == {"user_hold"}
    (child,) = submit_job(farm, after=["prepare"])
    assert f"it waits for prepare ({encode_job_id(parent)}), which is held, to succeed" in asked(farm, child)["sentence"]
    (fails,) = submit_job(farm, retry={"attempts": 3, "on": ["infrastructure"], "backoff": "90s"})
    run_dry(scheduler(farm).step)
    farm.sync(farm.agents[0])
    farm.run_to((fails, 0, 1), 1, reason="disk_full")
    assert codes(asked(farm, fails)) == {"backoff"}
    assert "tried again in 1 min" in asked(farm, fails)["sentence"]


def test_an_array_at_its_limit_says_so(farm: World) -> None:
    (job_id,) = submit_job(farm, array="0-99%2")
    run_dry(scheduler(farm).step)
    assert codes(asked(farm, job_id)) == {"array_limit"}


def test_clusters_without_an_answering_agent_are_counted(farm: World) -> None:
    (job_id,) = submit_job(farm)
    assert asked(farm, job_id)["placement"] == {"cluster": "c0", "site": "here", "nodes": ["c0-n1"], "node_count": 1}
    for agent in farm.agents:
        farm.silence(agent)
    explanation = asked(farm, job_id)
    assert codes(explanation) == {"no_lease"}
    assert "4 nodes belong to a cluster whose agent does not answer" in explanation["sentence"]


def test_an_ended_job_has_no_reasons(farm: World) -> None:
    (job_id,) = submit_job(farm)
    farm.cancel(job_id)
    explanation = asked(farm, job_id)
    assert (explanation["reasons"], explanation["waiting_since"]) == ([], None)


def test_who_may_not_see_the_job_learns_nothing(farm: World) -> None:
    (job_id,) = submit_job(farm)
    with pytest.raises(NotFound):
        explain(farm.database, Principal(99, "nobody", "user"), encode_job_id(job_id))


def test_a_dry_run_can_say_whether_it_would_start(farm: World) -> None:
    small = compile_job(canonical({"run": "true", "resources": {"cpu": 1, "memory": "1GiB"}}))
    large = compile_job(canonical({"run": "true", "resources": {"cpu": 5, "memory": "1GiB"}}))
    summary = would_start(farm.database, small, farm.queue_id)
    assert (summary.starts_now, summary.elements_now) == (True, 1)
    summary = would_start(farm.database, large, farm.queue_id)
    assert (summary.starts_now, summary.sentence) == (False, "waits: 4 nodes have less than 5 CPUs, even when empty")
    assert rows(farm, "select * from jobs") == []
