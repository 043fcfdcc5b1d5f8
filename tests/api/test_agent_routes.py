"""The agent's exchange and the fleet, over HTTP."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bushel.api.settings import Settings
from bushel.control.bootstrap import Bootstrapped
from bushel.store import clusters
from bushel.store.database import Database
from tests.api.conftest import Client


def sync(**rest: Any) -> dict[str, Any]:
    return {
        "incarnation": "folder",
        "epoch": None,
        "sent_at": "2026-01-01T00:00:00+00:00",
        "known_version": 0,
        "complete": True,
        "attempts": [],
        "wait_seconds": 0,
    } | rest


NODE = {
    "name": "n1",
    "capacity": {"cpu": 8000},
    "labels": {"zone": "a"},
    "topology": [["rack", "r1"], ["host", "n1"]],
    "state": "ready",
    "detail": {"kernel": "6.1"},
}


@pytest.fixture
def agent(app_client: Client) -> Client:
    """The agent of a new cluster `east-1`."""
    assert app_client.post("/v1/sites", json={"name": "east", "jurisdiction": "us"}).status_code == 201
    answer = app_client.post("/v1/clusters", json={"name": "east-1", "site": "east"})
    assert answer.status_code == 201, answer.text
    return app_client.with_token(answer.json()["agent_token"])


def test_an_agent_joins_and_its_nodes_are_seen(agent: Client, app_client: Client) -> None:
    assert app_client.get("/v1/clusters/east-1").json()["state"] == "waiting"
    answer = agent.post("/v1/agent/sync", json=sync(nodes=[NODE], agent={"version": "0.1.0", "host": "laptop"}))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["epoch"], answer.json()["complete"], answer.json()["attempts"]) == (1, True, [])
    cluster = app_client.get("/v1/clusters/east-1").json()
    assert (cluster["state"], cluster["epoch"], cluster["node_count"], cluster["agent"]["host"]) == ("ready", 1, 1, "laptop")
    [node] = app_client.get("/v1/nodes").json()["items"]
    assert (node["name"], node["state"], node["capacity"], node["held"]) == ("n1", "ready", {"cpu": 8000}, {})
    assert app_client.get("/v1/nodes/east-1/n1").json()["topology"] == [["rack", "r1"], ["host", "n1"]]


def test_a_poll_without_news_is_held_back_and_ends_when_there_is_some(agent: Client, database: Database) -> None:
    first = agent.post("/v1/agent/sync", json=sync()).json()
    poll = sync(epoch=first["epoch"], known_version=first["version"], complete=False, wait_seconds=8)
    began = time.monotonic()
    agent.post("/v1/agent/sync", json=poll | {"wait_seconds": 0.3})
    assert 0.25 < time.monotonic() - began < 3
    answers: list[tuple[float, dict[str, Any]]] = []

    def ask() -> None:
        answer = agent.post("/v1/agent/sync", json=poll).json()
        answers.append((time.monotonic(), answer))

    waiting = threading.Thread(target=ask)
    waiting.start()
    threading.Event().wait(0.3)
    changed = time.monotonic()
    with database.transaction() as tx:
        clusters.bump(tx, [tx.one("select id from clusters")["id"]])
    waiting.join(10)
    [(answered, answer)] = answers
    assert answered - changed < 1.5, "the poll did not end with the news"
    assert answer["version"] == first["version"] + 1


def test_an_agent_under_an_old_epoch_is_refused(agent: Client) -> None:
    first = agent.post("/v1/agent/sync", json=sync()).json()
    answer = agent.post("/v1/agent/sync", json=sync(epoch=first["epoch"] + 1))
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_epoch")


@pytest.mark.parametrize(
    "odd",
    [
        {"attempts": [{"id": "x", "report_version": 1, "state": "running", "tasks": []}]},
        {"attempts": [{"id": "0hf8z.0.1", "report_version": 2**80, "state": "ended", "tasks": [{"rank": -1, "state": "ended"}]}]},
        {"known_version": -5},
        {"known_version": 2**62},
        {"sent_at": "yesterday"},
        {"agent": {"version": "\0"}},
        {"incarnation": "\0"},
        {"incarnation": "\ud800"},
        {"epoch": 2**80},
        {"wait_seconds": -1e300},
        {"nodes": [NODE | {"capacity": {"cpu": -1, "\0": 2**100}}]},
        {"nodes": [NODE | {"detail": {"x": [[[[[[[[[[[[1]]]]]]]]]]]]}}]},
    ],
)
def test_an_odd_exchange_never_is_a_fault(agent: Client, odd: dict[str, Any]) -> None:
    epoch = agent.post("/v1/agent/sync", json=sync()).json()["epoch"]
    answer = agent.post("/v1/agent/sync", json=sync(epoch=epoch) | odd)
    assert answer.status_code in (200, 409, 422), answer.text


def test_an_agent_opens_only_its_own_routes_and_people_do_not_open_those(agent: Client, app_client: Client) -> None:
    for path in ("/v1/clusters", "/v1/nodes", "/v1/sites", "/v1/jobs"):
        assert agent.get(path).status_code == 403
    assert app_client.post("/v1/agent/sync", json=sync()).status_code == 403


def test_who_may_change_the_fleet(agent: Client, app_client: Client, as_principal: Callable[..., Client]) -> None:
    agent.post("/v1/agent/sync", json=sync(nodes=[NODE]))
    viewer, manager, nobody = as_principal("vi", "viewer", "home/main"), as_principal("ma", "manager"), as_principal("no")
    changes = [
        ("POST", "/v1/sites", {"name": "west"}),
        ("POST", "/v1/clusters", {"name": "w1", "site": "east"}),
        ("DELETE", "/v1/clusters/east-1", None),
        ("POST", "/v1/nodes/east-1/n1/cordon", None),
    ]
    for path in ("/v1/sites", "/v1/clusters", "/v1/clusters/east-1", "/v1/nodes", "/v1/nodes/east-1/n1"):
        assert viewer.get(path).status_code == 200
        assert nobody.get(path).status_code == 404
    for method, path, body in changes:
        assert viewer.request(method, path, json=body).status_code == 403, path
        assert manager.request(method, path, json=body).status_code == 403, path
        assert nobody.request(method, path, json=body).status_code == 404, path
    assert app_client.post("/v1/nodes/east-1/n1/cordon").json()["cordoned"] is True
    assert app_client.post("/v1/nodes/east-1/n1/uncordon").json()["cordoned"] is False


def test_a_cluster_is_made_once_for_one_key(app_client: Client) -> None:
    app_client.post("/v1/sites", json={"name": "east"})
    headers = {"Idempotency-Key": "k1"}
    first = app_client.post("/v1/clusters", json={"name": "e1", "site": "east"}, headers=headers).json()
    assert app_client.post("/v1/clusters", json={"name": "e1", "site": "east"}, headers=headers).json() == first
    assert app_client.post("/v1/clusters", json={"name": "e1", "site": "east"}).status_code == 409
    assert app_client.post("/v1/clusters", json={"name": "e2", "site": "nowhere"}).status_code == 404


def test_a_removed_clusters_agent_is_nobody(agent: Client, app_client: Client) -> None:
    agent.post("/v1/agent/sync", json=sync())
    assert app_client.delete("/v1/clusters/east-1").status_code == 204
    assert app_client.get("/v1/clusters/east-1").status_code == 404
    deadline = time.monotonic() + 5
    while agent.post("/v1/agent/sync", json=sync()).status_code != 401:
        assert time.monotonic() < deadline, "the agent's token worked for 5 s after its cluster was removed"


def test_an_agent_gets_the_folders_that_its_attempts_need_and_no_others(
    agent: Client, app_client: Client, database: Database, settings: Settings, installation: Bootstrapped
) -> None:
    content = b"an archive"
    digest = hashlib.sha256(content).hexdigest()
    folder = settings.state_folder / "blobs" / str(installation.project_id) / digest[:2]
    folder.mkdir(parents=True)
    Path(folder / digest).write_bytes(content)
    path = f"/v1/agent/blobs/home/main/main/sha256:{digest}"
    assert agent.get(path).status_code == 404
    with database.transaction() as tx:
        job = tx.one(
            """
            insert into jobs (project_id, queue_id, submitter_id, name, spec, state, priority, element_count, pending, pending_count,
                              starting_count)
            values (%s, %s, %s, 'x', jsonb_build_object('workdir', %s::text), 'starting', 500, 1, '{}', 0, 1) returning id
            """,
            (installation.project_id, installation.queue_id, installation.admin_principal_id, f"sha256:{digest}"),
        )["id"]
        tx.execute(
            """
            insert into attempts (job_id, index, number, cluster_id, queue_id, epoch, placement, desired_version)
            select %s, 0, 1, id, %s, epoch, '[]', 1 from clusters
            """,
            (job, installation.queue_id),
        )
    assert agent.get(path).content == content
    assert agent.get(f"/v1/agent/blobs/home/main/other/sha256:{digest}").status_code == 404
    assert agent.get(f"/v1/agent/blobs/home/main/main/sha256:{'0' * 64}").status_code == 404
    assert agent.get("/v1/agent/blobs/home/main/main/sha256:zz").status_code == 422
