"""Leases of agents: who may hold one, when it is lost, and what that means for what ran under it."""

from __future__ import annotations

from typing import Any

import pytest

from bushel.agent.sync import LONGEST_PAUSE_SECONDS
from bushel.control import leases, sync
from bushel.domain.errors import Conflict, NotFound, StaleEpoch
from bushel.domain.leases import return_grace_seconds
from bushel.store import leases as leader
from tests.control.lifecycle_world import LEASE_SECONDS, Agent, World, task


def receive(world: World, agent: Agent, *reports: dict[str, Any], **rest: Any) -> sync.Received:
    return sync.receive(world.database, agent.cluster_id, agent.request(attempts=list(reports), **rest), LEASE_SECONDS)


def test_a_restarted_agent_goes_on_under_its_epoch(world: World) -> None:
    agent = world.agents[0]
    [key] = world.place(world.submit())
    epoch = agent.epoch
    agent.epoch, agent.known_version = None, 0
    answer = world.sync(agent)
    assert (answer["epoch"], answer["complete"]) == (epoch, True)
    assert len(answer["attempts"]) == 1
    assert world.attempt(key)["state"] == "starting"


def test_a_new_state_folder_waits_until_nothing_of_the_old_one_can_run(world: World) -> None:
    old, job = world.agents[0], world.submit()
    [key] = world.place(job)
    new = Agent(old.cluster_id, "another folder")
    with pytest.raises(Conflict):
        receive(world, new)
    world.silence(old)
    with pytest.raises(Conflict):
        receive(world, new)
    world.settle()
    assert world.attempt(key)["reason"] == "lease_expired"
    answer = world.sync(new)
    assert answer["epoch"] > (old.epoch or 0)
    assert answer["attempts"] == []
    with pytest.raises(StaleEpoch):
        receive(world, old)


def test_a_new_state_folder_is_let_in_at_once_when_nothing_ran(world: World) -> None:
    old = world.agents[0]
    assert world.sync(Agent(old.cluster_id, "another folder"))["epoch"] == (old.epoch or 0) + 1


def test_a_report_under_an_old_epoch_changes_nothing(world: World) -> None:
    agent, job = world.agents[0], world.submit()
    [key] = world.place(job)
    world.silence(agent)
    world.settle()
    before = world.job(job), world.attempt(key), world.kinds(job)
    with pytest.raises(StaleEpoch):
        receive(world, agent, agent.report(key, "ended", task(exit_code=0)))
    assert (world.job(job), world.attempt(key), world.kinds(job)) == before
    old_report = agent.report(key, "ended", task(exit_code=0))
    agent.epoch = None
    world.sync(agent, old_report)
    assert (world.job(job), world.attempt(key), world.kinds(job)) == before


def test_a_renewal_before_the_declaration_wins(world: World) -> None:
    agent = world.agents[0]
    [key] = world.place(world.submit())
    world.silence(agent)
    world.sync(agent)
    world.settle()
    assert world.attempt(key)["state"] == "starting"


def test_nothing_is_given_up_before_the_wait_is_over(world: World) -> None:
    agent = world.agents[0]
    [key] = world.place(world.submit())
    with world.database.transaction() as tx:
        tx.execute(
            "update clusters set lease_expires_at = now() - interval '1 s', lease_free_at = now() + interval '60 s' where id = %s",
            (agent.cluster_id,),
        )
    world.settle()
    assert world.attempt(key)["state"] == "starting"


def test_a_parked_cluster_is_never_given_up(world: World) -> None:
    agent = world.agents[0]
    [key] = world.place(world.submit())
    world.sync(agent, parked=True)
    world.settle()
    assert world.attempt(key)["state"] == "starting"
    with pytest.raises(Conflict, match="parked"):
        receive(world, Agent(agent.cluster_id, "another folder"))
    world.sync(agent)
    with world.database.transaction() as tx:
        kinds = [
            row["kind"] for row in tx.all("select kind from events where kind like 'cluster.%%' and object = 'cluster/c0' order by id")
        ]
    assert kinds == ["cluster.joined", "cluster.parked", "cluster.joined"]


def test_a_silent_cluster_of_kubernetes_is_waited_for(world: World) -> None:
    """docs/guides/kubernetes.md#why-nothing-runs-twice"""
    agent = world.agents[0]
    [key] = world.place(world.submit())
    with world.database.transaction() as tx:
        tx.execute("update clusters set engine = 'kubernetes' where id = %s", (agent.cluster_id,))
    world.silence(agent)
    world.settle()
    assert world.attempt(key)["state"] == "starting", "its pod may still run"
    world.sync(agent, agent.report(key, "ended", task(exit_code=0)))
    assert world.attempt(key)["outcome"] == "succeeded"


def test_a_leader_that_was_replaced_can_give_nothing_up(world: World) -> None:
    [key] = world.place(world.submit())
    world.silence(world.agents[0])
    stale = leader.Lease("control", "somebody else", world.lease.epoch + 1)
    with pytest.raises(StaleEpoch):
        leases.step(world.database, stale, stale.since, grace_seconds=0.0)
    assert world.attempt(key)["state"] == "starting"


def test_what_ended_while_the_control_plane_was_down_is_reported_before_anything_is_given_up(world: World) -> None:
    """docs/concepts/leases.md#what-is-declared-lost-and-how"""
    silent, back = world.agents
    [lost], [finished] = world.place(world.submit()), world.place(world.submit(), cluster=1)
    world.silence(silent)
    world.silence(back)
    grace_seconds, began_at = return_grace_seconds(LEASE_SECONDS), world.lease.since
    assert grace_seconds >= 5 * LONGEST_PAUSE_SECONDS, "an agent tries several times within the grace"
    assert leases.step(world.database, world.lease, began_at + grace_seconds - 0.1, grace_seconds) == 0
    epoch, back.epoch = back.epoch, None  # a restarted agent; one that ran on names its epoch
    world.sync(back, back.report(finished, "ended", task(exit_code=0)))
    assert back.epoch == epoch
    assert leases.step(world.database, world.lease, began_at + grace_seconds, grace_seconds) == 2
    assert world.attempt(finished)["outcome"] == "succeeded"
    assert world.attempt(lost)["outcome"] == "lost"


def test_an_agent_whose_lease_ran_out_goes_on_under_its_epoch_until_it_is_declared_lost(world: World) -> None:
    agent, job = world.agents[0], world.submit()
    [key] = world.place(job)
    world.silence(agent)
    world.run_to(key, 0)
    assert world.job(job)["state"] == "succeeded"


def test_an_idle_exchange_has_no_news_and_renews_the_lease(world: World) -> None:
    agent = world.agents[0]
    world.silence(agent)
    assert not receive(world, agent).news
    with world.database.transaction() as tx:
        assert tx.one("select lease_expires_at > now() + interval '29 s' as held from clusters where id = %s", (agent.cluster_id,))["held"]


def test_a_lost_answer_is_given_again(world: World) -> None:
    agent = world.agents[0]
    [key] = world.place(world.submit())
    known = agent.known_version
    first = world.sync(agent)
    agent.known_version = known
    second = world.sync(agent)
    assert [wanted["id"] for wanted in first["attempts"]] == [wanted["id"] for wanted in second["attempts"]]
    world.run_to(key, 0)
    known = agent.known_version - 1
    agent.known_version = known
    assert len(world.sync(agent)["forget"]) == 1


def test_the_agent_of_a_removed_cluster_is_told_so(world: World) -> None:
    with world.database.transaction() as tx:
        tx.execute("update clusters set removed_at = now() where id = %s", (world.agents[0].cluster_id,))
    with pytest.raises(NotFound):
        receive(world, world.agents[0])


def test_nodes_are_taken_over_and_only_changes_are_told(world: World) -> None:
    agent = world.agents[0]
    node = {
        "name": "n1",
        "capacity": {"cpu": 4000, "memory": 2**33},
        "labels": {"zone": "a"},
        "topology": [["rack", "r1"]],
        "state": "ready",
    }
    other = node | {"name": "n2"}

    def events() -> list[str]:
        with world.database.transaction() as tx:
            rows = tx.all("select kind, object from events where kind like 'node.%%' order by id")
            return [f"{row['kind']} {row['object']}" for row in rows]

    world.sync(agent, nodes=[node | {"detail": {"kernel": "6"}}, other | {"detail": {}}])
    assert events() == ["node.changed node/c0/n1", "node.joined node/c0/n2"]
    world.sync(agent, nodes=[node | {"detail": {"kernel": "7"}}, other | {"detail": {}}])
    assert len(events()) == 2
    world.sync(agent, complete=True, nodes=[node | {"detail": {}}])
    assert events()[2:] == ["node.lost node/c0/n2"]
    world.sync(agent, nodes=[other | {"detail": {}}])
    assert events()[3:] == ["node.changed node/c0/n2"]
    world.sync(agent, nodes=[{"name": "a/b", "state": "ready"}, {"name": "n3", "state": "odd"}, node | {"capacity": {"cpu": 10**40}}])
    assert events()[4:] == ["node.changed node/c0/n1"]
