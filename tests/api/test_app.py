"""What surrounds every route."""

from __future__ import annotations

from tests.api.conftest import Client


def test_health_needs_no_token_and_says_only_ok(app_client: Client) -> None:
    answer = app_client.with_token(None).get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_an_unknown_route_is_a_problem(app_client: Client) -> None:
    answer = app_client.get("/v1/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"
