"""Queues: who gives a share decides it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bushel.store.database import Database
from tests.api.conftest import Client

QUOTA = {"cpu": 64, "memory": "1TiB", "gpu": {"H100": 8, "A100": 0.5}}


def test_a_quota_is_kept_in_smallest_units_and_shown_in_those_of_documents(app_client: Client, database: Database) -> None:
    made = app_client.post("/v1/queues", json={"name": "fast", "scope": "home/main", "parent": "main", "resource_quota": QUOTA})
    assert made.status_code == 201, made.text
    assert made.json()["resource_quota"] == {"cpu": 64, "memory": 1024**4, "gpu": {"H100": 8, "A100": 0.5}}
    with database.transaction() as tx:
        stored = tx.one("select resource_quota from queues where name = 'fast'")["resource_quota"]
    assert stored == {"cpu": 64000, "memory": 1024**4, "gpu/H100": 8000, "gpu/A100": 500}


def test_what_a_change_leaves_out_stays(app_client: Client) -> None:
    app_client.post("/v1/queues", json={"name": "fast", "scope": "home/main", "resource_quota": QUOTA, "job_quota": 5})
    changed = app_client.patch("/v1/queues/fast", json={"weight": 7}).json()
    assert (changed["weight"], changed["job_quota"], changed["resource_quota"]["cpu"], changed["version"]) == (7, 5, 64, 2)
    assert app_client.patch("/v1/queues/fast", json={"job_quota": None}).json()["job_quota"] is None
    assert app_client.patch("/v1/queues/fast", json={"resource_quota": {}}).json()["resource_quota"] == {}


def test_a_change_for_an_older_version_is_refused(app_client: Client) -> None:
    assert app_client.patch("/v1/queues/main", json={"weight": 7, "version": 1}).status_code == 200
    assert app_client.patch("/v1/queues/main", json={"weight": 9, "version": 1}).status_code == 409


def test_a_team_divides_its_share_but_does_not_raise_it(app_client: Client, as_principal: Callable[..., Client]) -> None:
    admin = as_principal("ada", "admin", "home/main")
    assert admin.post("/v1/queues", json={"name": "part", "scope": "home/main", "parent": "main"}).status_code == 201
    assert admin.patch("/v1/queues/part", json={"weight": 9, "resource_quota": {"cpu": 4}}).status_code == 200
    assert admin.patch("/v1/queues/main", json={"weight": 9}).status_code == 403
    assert admin.post("/v1/queues", json={"name": "top", "scope": "home/main"}).status_code == 403
    assert admin.delete("/v1/queues/main").status_code == 403


def test_a_team_begins_with_a_queue_and_its_projects_use_it(app_client: Client) -> None:
    assert app_client.post("/v1/scopes", json={"path": "home/research"}).json()["queue"] == "research"
    assert app_client.post("/v1/scopes", json={"path": "home/research/vision"}).json()["queue"] == "research"
    assert app_client.post("/v1/scopes", json={"path": "home/research/x", "queue": "main"}).status_code == 422, "another team's queue"
    assert app_client.delete("/v1/queues/research").status_code == 409, "it is in use"


def test_a_change_of_a_queue_is_an_event_that_names_its_version(app_client: Client, database: Database) -> None:
    app_client.patch("/v1/queues/main", json={"weight": 7})
    with database.transaction() as tx:
        event = tx.one("select * from events where kind = 'queue.changed' order by id desc limit 1")
    assert (event["object"], event["scope_path"], event["body"]["version"]) == ("queue/main", "home/main", 2)


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"name": "Bad", "scope": "home/main"}, "/name"),
        ({"name": "q", "scope": "home/main/main"}, "/scope"),
        ({"name": "q", "scope": "home/main", "weight": -1}, "/weight"),
        ({"name": "q", "scope": "home/main", "parent": "nowhere"}, "/parent"),
        ({"name": "q", "scope": "home/main", "resource_quota": {"cpus": 1}}, "/resource_quota/cpus"),
        ({"name": "q", "scope": "home/main", "resource_quota": {"gpu": {"H100": True}}}, "/resource_quota/gpu/H100"),
        ({"name": "q", "scope": "home/main", "job_quota": -1}, "/job_quota"),
    ],
)
def test_a_problem_points_at_the_field(app_client: Client, document: dict[str, Any], pointer: str) -> None:
    answer = app_client.post("/v1/queues", json=document)
    assert (answer.status_code, answer.json()["pointer"]) == (422, pointer), answer.text


SHARES = {"guarantee": {"cpu": 16, "gpu": {"H100": 8}}, "lending": {"gpu": {"H100": 4}}, "borrowing": {"cpu": 0}}


def test_what_a_queue_is_promised_lends_and_borrows_is_kept_and_shown(app_client: Client, database: Database) -> None:
    """docs/guides/queues.md#guarantee"""
    made = app_client.post("/v1/queues", json={"name": "fast", "scope": "home/main", "weight": 0, **SHARES})
    assert made.status_code == 201, made.text
    assert {name: made.json()[name] for name in SHARES} == SHARES
    assert made.json()["weight"] == 0
    changed = app_client.patch("/v1/queues/fast", json={"lending": {}, "weight": 5}).json()
    assert (changed["lending"], changed["guarantee"], changed["weight"]) == ({}, SHARES["guarantee"], 5)
    assert app_client.patch("/v1/queues/fast", json={"weight": 0}).json()["weight"] == 0
    with database.transaction() as tx:
        told = tx.all("select body from events where object = 'queue/fast' order by id")
        audited = tx.all("select detail from audit where object = 'queue/fast' order by id")
    assert [row["body"].get("changed") for row in told] == [None, ["lending", "weight"], ["weight"]]
    assert audited[0]["detail"]["guarantee"] == SHARES["guarantee"]


@pytest.mark.parametrize(
    ("name", "change", "pointer", "said"),
    [
        ("a", {"guarantee": {"cpu": 20}}, "/guarantee/cpu", "a would be guaranteed 20 CPUs and limited to 12 CPUs"),
        ("a", {"guarantee": {"cpu": 10}}, "/guarantee/cpu", "would be guaranteed 18 CPUs together, top itself 16 CPUs"),
        ("a", {"guarantee": {"memory": "2GiB"}}, "/guarantee/memory", "top is limited to 1 GiB of memory"),
        ("top", {"guarantee": {"cpu": 4}}, "/guarantee/cpu", "would be guaranteed 8 CPUs together, top itself 4 CPUs"),
        ("top", {"resource_quota": {"cpu": 8, "memory": "1GiB"}}, "/guarantee/cpu", "top would be guaranteed 16 CPUs and limited to 8"),
        ("a", {"lending": {"gpu": {"H100": 1}}}, "/lending/gpu/H100", "a is guaranteed no H100"),
        ("a", {"guarantee": {"cpu": 1}, "lending": {"cpu": 2}}, "/lending/cpu", "a would lend up to 2 CPUs, but is guaranteed 1 CPU"),
        ("a", {"guarantee": {"cpu": -1}}, "/guarantee/cpu", "0.5"),
        ("a", {"guarantee": {"gpus": 1}}, "/guarantee/gpus", "unknown field"),
        ("a", {"borrowing": {"gpu": {"H100": -1}}}, "/borrowing/gpu/H100", "not a number of accelerators"),
    ],
)
def test_what_cannot_be_promised_is_refused_with_the_way_out(
    app_client: Client, name: str, change: dict[str, Any], pointer: str, said: str
) -> None:
    """docs/guides/queues.md#what-is-refused"""
    quota = {"cpu": 16, "memory": "1GiB"}
    app_client.post("/v1/queues", json={"name": "top", "scope": "home", "resource_quota": quota, "guarantee": {"cpu": 16}})
    for below, cpu in (("a", 0), ("b", 8)):
        document = {"name": below, "scope": "home/main", "parent": "top", "resource_quota": {"cpu": 12}, "guarantee": {"cpu": cpu}}
        assert app_client.post("/v1/queues", json=document).status_code == 201
    answer = app_client.patch(f"/v1/queues/{name}", json=change)
    assert (answer.status_code, answer.json()["pointer"]) == (422, pointer), answer.text
    assert said in answer.text
    assert app_client.get(f"/v1/queues/{name}").json()["version"] == 1


def test_a_tree_that_is_wrong_already_can_be_put_right_step_by_step(app_client: Client, database: Database) -> None:
    app_client.post("/v1/queues", json={"name": "top", "scope": "home", "guarantee": {"cpu": 16}})
    for below in ("a", "b"):
        app_client.post("/v1/queues", json={"name": below, "scope": "home/main", "parent": "top", "guarantee": {"cpu": 8}})
    with database.transaction() as tx:
        tx.execute("""update queues set guarantee = '{"cpu": 1000}' where name = 'top'""")
    assert app_client.patch("/v1/queues/a", json={"guarantee": {"cpu": 4}}).status_code == 200
    assert app_client.patch("/v1/queues/a", json={"weight": 3}).status_code == 200
