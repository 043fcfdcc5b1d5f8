"""The tree of queues over HTTP."""

from __future__ import annotations

from collections.abc import Callable

from tests.api.conftest import Client


def test_a_queue_stands_before_those_below_it(app_client: Client) -> None:
    for name, parent in (("b", "main"), ("a", "main"), ("a-deep", "a")):
        assert app_client.post("/v1/queues", json={"name": name, "scope": "home/main", "parent": parent}).status_code == 201
    tree = app_client.get("/v1/queue-tree").json()
    assert [(queue["name"], queue["depth"], queue["parent"]) for queue in tree["items"]] == [
        ("main", 0, None),
        ("a", 1, "main"),
        ("a-deep", 2, "a"),
        ("b", 1, "main"),
    ]


def test_a_team_sees_its_own_branch(app_client: Client, as_principal: Callable[..., Client]) -> None:
    assert app_client.post("/v1/scopes", json={"path": "home/other"}).status_code == 201
    assert app_client.post("/v1/queues", json={"name": "others", "scope": "home/other"}).status_code == 201
    names = [queue["name"] for queue in as_principal("eve", "viewer", "home/main").get("/v1/queue-tree").json()["items"]]
    assert "main" in names
    assert "others" not in names
