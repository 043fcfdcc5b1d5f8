"""A request that FastAPI has no part in is answered as one in which it has."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import Client, Response

DIRECT: dict[str, Any] = {}
BY_FUNCTION: dict[str, Any] = {"params": {"dry_run": "false"}}
DOCUMENT = {"run": ["true"], "hold": True, "resources": {"cpu": 1, "memory": "64MiB"}}


def submit(client: Client, how: dict[str, Any], **rest: Any) -> Response:
    headers = {"Idempotency-Key": uuid.uuid4().hex, "X-Request-Id": "r", **rest.pop("headers", {})}
    return client.post("/v1/jobs", headers=headers, **how, **rest)


@pytest.mark.parametrize(
    "request_of_it",
    [
        {"json": DOCUMENT},
        {"json": {"jobs": [DOCUMENT]}},
        {"json": {"jobs": []}},
        {"json": {**DOCUMENT, "project": "home/main/none"}},
        {"json": {**DOCUMENT, "nmae": "x"}},
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
        {"content": b"{}", "headers": {"Content-Type": "text/plain"}},
        {},
    ],
    ids=["job", "batch", "empty batch", "no project", "unknown field", "no JSON", "another type", "no body"],
)
def test_the_answers_are_alike(app_client: Client, request_of_it: dict[str, Any]) -> None:
    direct, by_function = (submit(app_client, how, **request_of_it) for how in (DIRECT, BY_FUNCTION))
    assert direct.status_code == by_function.status_code
    names = {name.lower() for name in direct.headers}
    assert names == {name.lower() for name in by_function.headers}
    assert shape(direct.json()) == shape(by_function.json())


@pytest.mark.parametrize("how", [DIRECT, BY_FUNCTION], ids=["direct", "by function"])
def test_refusals_are_alike(app_client: Client, as_principal: Callable[..., Client], how: dict[str, Any]) -> None:
    reader = as_principal("ada", "viewer")
    answers = [submit(client, how, json={**DOCUMENT, "project": "home/main/main"}) for client in (app_client.with_token(None), reader)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(401, "unauthenticated"), (403, "forbidden")]


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_none_is_refused(app_client: Client, key: str) -> None:
    assert app_client.post("/v1/jobs", json=DOCUMENT, headers={"Idempotency-Key": key}).status_code == 422


def test_a_job_is_there_once_for_each_key(app_client: Client) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = (app_client.post("/v1/jobs", json=DOCUMENT, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.headers["Location"] == again.headers["Location"]
    assert app_client.post("/v1/jobs", json={**DOCUMENT, "name": "other"}, headers=headers).json()["code"] == "idempotency_key_reused"
    assert len(app_client.get("/v1/jobs").json()["items"]) == 1


def shape(document: Any) -> Any:
    """Without what differs between any two jobs."""
    if isinstance(document, dict):
        return {name: shape(value) for name, value in document.items() if name not in ("id", "submitted_at", "name", "last_transition_at")}
    return [shape(item) for item in document] if isinstance(document, list) else document
