"""A lost answer can be asked for again, for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bushel.store.database import Database
from tests.api.conftest import Client, Response

KEY = {"Idempotency-Key": "k1"}


def test_the_same_request_gets_the_same_answer_and_happens_once(app_client: Client) -> None:
    document = {"path": "home/research"}
    first, again = (app_client.post("/v1/scopes", json=document, headers=KEY) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert app_client.post("/v1/scopes", json=document).status_code == 409, "without the key it is another request"


def test_a_key_that_comes_back_with_something_else_is_refused(app_client: Client) -> None:
    app_client.post("/v1/scopes", json={"path": "home/a"}, headers=KEY)
    other_body = app_client.post("/v1/scopes", json={"path": "home/b"}, headers=KEY)
    other_path = app_client.post("/v1/tokens", json={"name": "home/a"}, headers=KEY)
    assert [(answer.status_code, answer.json()["code"]) for answer in (other_body, other_path)] == [(422, "idempotency_key_reused")] * 2


def test_keys_of_others_are_others(app_client: Client, as_principal: Callable[..., Client]) -> None:
    ada = as_principal("ada", "admin")
    made = [client.post("/v1/tokens", json={"name": "t"}, headers=KEY).json() for client in (app_client, ada)]
    assert [token["principal"] for token in made] == ["admin", "ada"]


def test_a_refused_request_leaves_no_key(app_client: Client) -> None:
    assert app_client.post("/v1/queues", json={"name": "q", "scope": "home/main", "parent": "none"}, headers=KEY).status_code == 422
    assert app_client.post("/v1/scopes", json={"path": "home/a"}, headers=KEY).status_code == 201


def test_a_lost_token_is_given_again_but_is_not_in_the_database(app_client: Client, database: Database) -> None:
    first, again = (app_client.post("/v1/tokens", json={"name": "t"}, headers=KEY).json() for _ in range(2))
    assert first == again
    assert app_client.with_token(again["token"]).get("/v1/whoami").status_code == 200
    with database.transaction() as tx:
        stored = str(tx.all("select answer from idempotency_keys"))
    assert first["token"].rpartition("_")[2] not in stored


def test_who_lost_the_right_does_not_get_the_stored_answer(app_client: Client, as_principal: Callable[..., Client]) -> None:
    app_client.post("/v1/principals", json={"name": "robot", "kind": "service", "scope": "home/main"})
    ada = as_principal("ada", "admin", "home/main")
    document = {"name": "t", "principal": "robot"}
    assert ada.post("/v1/tokens", json=document, headers=KEY).status_code == 201
    app_client.put("/v1/roles", json={"principal": "ada", "scope": "home/main", "role": "viewer"})
    assert ada.post("/v1/tokens", json=document, headers=KEY).status_code == 403


def test_at_the_same_time_it_happens_once(app_client: Client) -> None:
    answers: list[Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(app_client.post("/v1/tokens", json={"name": "t"}, headers=KEY))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_every_post_of_people_takes_a_key(app_client: Client) -> None:
    paths = app_client.get("/v1/openapi.json").json()["paths"]
    others = ("/v1/agent/", "/v1/estimates")  # agents have their own way of asking again, and an estimate changes nothing
    posts = {path: operation["post"] for path, operation in paths.items() if "post" in operation and not path.startswith(others)}
    without = [path for path, post in posts.items() if "idempotency-key" not in [each["name"] for each in post.get("parameters", [])]]
    assert not without
