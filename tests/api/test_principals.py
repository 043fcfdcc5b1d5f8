"""People, service accounts, tokens and roles: power stays where it was given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bushel.store.database import Database
from tests.api.conftest import Client, Response

Make = Callable[..., Client]


def team(client: Client, path: str = "home/research") -> None:
    assert client.post("/v1/scopes", json={"path": path}).status_code == 201


def service(client: Client, name: str = "robot", scope: str = "home/main") -> str:
    answer = client.post("/v1/principals", json={"name": name, "kind": "service", "scope": scope})
    assert answer.status_code == 201, answer.text
    assert answer.json()["token"] is None
    return name


def grant(client: Client, principal: str, scope: str, role: str) -> Response:
    return client.put("/v1/roles", json={"principal": principal, "scope": scope, "role": role})


def token(client: Client, **document: Any) -> str:
    answer = client.post("/v1/tokens", json={"name": "t", **document})
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


def test_a_new_person_gets_a_first_token_and_a_role(app_client: Client) -> None:
    made = app_client.post("/v1/principals", json={"name": "ada", "scope": "home"})
    ada = app_client.with_token(made.json()["token"])
    assert ada.get("/v1/whoami").json()["roles"] == {}
    assert grant(app_client, "ada", "home/main", "member").status_code == 200
    assert ada.get("/v1/whoami").json()["roles"] == {"home/main": "member"}
    assert ada.get("/v1/scopes").json()["items"][0]["path"] == "home/main"


def test_enrolling_again_ends_all_earlier_tokens(app_client: Client) -> None:
    first = app_client.with_token(app_client.post("/v1/principals", json={"name": "ada", "scope": "home"}).json()["token"])
    second = app_client.with_token(token(first))
    third = app_client.with_token(app_client.post("/v1/principals/ada/enrol").json()["token"])
    assert [client.get("/v1/whoami").status_code for client in (first, second, third)] == [401, 401, 200]


def test_a_revoked_token_stops_with_the_answer(app_client: Client) -> None:
    made = app_client.post("/v1/tokens", json={"name": "t"}).json()
    client = app_client.with_token(made["token"])
    assert client.get("/v1/whoami").status_code == 200
    assert app_client.post(f"/v1/tokens/{made['id']}/revoke").json()["revoked_at"] is not None
    assert client.get("/v1/whoami").status_code == 401


def test_a_disabled_principal_stops_and_comes_back(app_client: Client, as_principal: Make) -> None:
    ada = as_principal("ada", "viewer")
    assert ada.get("/v1/whoami").status_code == 200
    assert app_client.post("/v1/principals/ada/disable").status_code == 200
    assert ada.get("/v1/whoami").status_code == 401
    assert app_client.post("/v1/principals/ada/enable").status_code == 200
    assert ada.get("/v1/whoami").status_code == 200


def test_a_token_that_only_reads_changes_nothing_and_makes_no_tokens(app_client: Client) -> None:
    reader = app_client.with_token(token(app_client, scopes=["read"]))
    assert reader.get("/v1/audit").status_code == 200
    assert reader.post("/v1/scopes", json={"path": "home/new"}).status_code == 403
    assert reader.post("/v1/tokens", json={"name": "wider"}).status_code == 403
    assert reader.post("/v1/principals/admin/disable").status_code == 403


def test_a_token_never_outlives_the_one_that_made_it(app_client: Client) -> None:
    short = app_client.with_token(token(app_client, expires_in_seconds=600))
    made = short.post("/v1/tokens", json={"name": "t"}).json()
    assert datetime.fromisoformat(made["expires_at"]) < datetime.now(UTC) + timedelta(seconds=601)
    assert short.post("/v1/tokens", json={"name": "t", "expires_in_seconds": 3600}).status_code == 422
    assert app_client.post("/v1/tokens", json={"name": "t", "expires_at": "2020-01-01T00:00:00Z"}).status_code == 422


def test_nobody_makes_a_token_of_another_person(app_client: Client, as_principal: Make) -> None:
    as_principal("ada", "viewer")
    assert app_client.post("/v1/tokens", json={"name": "t", "principal": "ada"}).status_code == 403


def test_a_team_admin_gets_no_token_of_a_service_account_that_may_more(app_client: Client, as_principal: Make) -> None:
    admin = as_principal("ada", "admin", "home/main")
    robot = service(admin)
    assert token(admin, principal=robot)
    assert grant(app_client, robot, "home", "viewer").status_code == 200
    assert admin.post("/v1/tokens", json={"name": "t", "principal": robot}).status_code == 403
    assert admin.post(f"/v1/principals/{robot}/disable").status_code == 403


def test_nobody_grants_above_their_own_role_or_outside_their_team(app_client: Client, as_principal: Make) -> None:
    team(app_client)
    manager, admin = as_principal("max", "manager", "home/main"), as_principal("ada", "admin", "home/main")
    assert grant(manager, "max", "home/main", "admin").status_code == 403
    assert grant(manager, "ada", "home/main", "viewer").status_code == 403
    assert grant(admin, "max", "home/main", "admin").status_code == 200
    assert grant(admin, "ada", "home", "admin").status_code == 404
    assert grant(admin, "ada", "home/research", "viewer").status_code == 404
    assert grant(admin, "nobody-there", "home/main", "viewer").status_code == 404


def test_an_organisation_keeps_an_admin(app_client: Client, as_principal: Make) -> None:
    lower = {"principal": "admin", "scope": "home", "role": "manager"}
    alone = [
        app_client.delete("/v1/roles", params={"scope": "home", "principal": "admin"}),
        app_client.put("/v1/roles", json=lower),
        app_client.post("/v1/principals/admin/disable"),
    ]
    assert [answer.status_code for answer in alone] == [409, 409, 409]
    as_principal("ada", "admin")
    assert app_client.post("/v1/principals/ada/disable").status_code == 200
    assert app_client.put("/v1/roles", json=lower).status_code == 409, "a disabled admin is none"
    assert app_client.post("/v1/principals/ada/enable").status_code == 200
    assert app_client.put("/v1/roles", json=lower).status_code == 200


def test_two_admins_who_remove_each_other_at_once_leave_one(app_client: Client, as_principal: Make, database: Database) -> None:
    for attempt in range(10):
        first, second = as_principal(f"one{attempt}", "admin"), as_principal(f"two{attempt}", "admin")
        with database.transaction() as tx:
            tx.execute(
                "delete from role_bindings b using principals p where p.id = b.principal_id and p.name not in (%s, %s)",
                (f"one{attempt}", f"two{attempt}"),
            )
        requests = [(first, f"two{attempt}"), (second, f"one{attempt}")]
        threads = [
            threading.Thread(target=client.delete, args=("/v1/roles",), kwargs={"params": {"scope": "home", "principal": name}})
            for client, name in requests
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.transaction() as tx:
            assert tx.one("select count(*) as count from role_bindings")["count"] == 1


def test_who_belongs_to_another_team_is_not_seen(app_client: Client, as_principal: Make) -> None:
    team(app_client)
    service(app_client, "theirs", "home/research")
    service(app_client, "ours", "home/main")
    ada = as_principal("ada", "viewer", "home/main")
    assert [item["name"] for item in ada.get("/v1/principals").json()["items"]] == ["ada", "admin", "ours"]
    assert ada.get("/v1/principals/theirs").status_code == 404


@pytest.mark.parametrize("path", ["/v1/principals", "/v1/scopes", "/v1/roles", "/v1/tokens", "/v1/audit", "/v1/queues"])
def test_pages_of_a_list_add_up_to_the_list(app_client: Client, path: str) -> None:
    for number in range(5):
        team(app_client, f"home/team-{number}")
        service(app_client, f"robot-{number}", f"home/team-{number}")
        grant(app_client, f"robot-{number}", f"home/team-{number}", "viewer")
        token(app_client)
    whole, paged, page = app_client.get(path).json()["items"], [], None
    while True:
        answer = app_client.get(path, params={"limit": 2} | ({"page": page} if page else {})).json()
        paged += answer["items"]
        page = answer["next_page"]
        if page is None:
            break
    assert len(whole) >= 6
    assert paged == whole


def test_names_of_principals_stay_unique(app_client: Client) -> None:
    service(app_client)
    assert app_client.post("/v1/principals", json={"name": "robot", "kind": "service", "scope": "home/main"}).status_code == 409
    assert app_client.post("/v1/principals", json={"name": "eve", "scope": "home/main"}).status_code == 422, (
        "people belong to the organisation"
    )
