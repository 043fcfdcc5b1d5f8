"""Bad input is refused with a problem that says where; nothing of it is a fault of the server."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.api.wellformed import MOST_DEPTH, check_json
from bushel.domain.errors import InvalidDocument
from tests.api.conftest import Client, Response

JSON = {"Content-Type": "application/json"}


def post(client: Client, content: bytes, **headers: str) -> Response:
    return client.post("/v1/tokens", content=content, headers=JSON | headers)


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        (b'{"name": "a\\u0000b"}', "/name"),
        (b'{"name": "a\\ud800b"}', "/name"),
        (b'{"name": NaN}', "/name"),
        (b'{"expires_in_seconds": 1e999}', "/expires_in_seconds"),
        (b'{"a\\u0000": 1}', ""),
        (b'{"name": "\x00"}', ""),
        (b"\xff\xfe", ""),
        (b'{"name"', ""),
        (b"[" * 100_000, ""),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "/a" * MOST_DEPTH),
        (b"1" * 5000, ""),
    ],
)
def test_what_the_database_cannot_hold_is_pointed_at(app_client: Client, content: bytes, pointer: str) -> None:
    answer = post(app_client, content)
    assert (answer.status_code, answer.json().get("pointer")) == (422, pointer), answer.text


def test_a_body_over_the_limit_is_refused_told_or_not(app_client: Client) -> None:
    told = post(app_client, b" " * (64 * 1024 * 1024 + 1))
    assert (told.status_code, told.json()["code"]) == (413, "too_large")
    connection = http.client.HTTPConnection(app_client.host, app_client.port, timeout=30)
    chunks: Iterator[bytes] = (b" " * 1024 * 1024 for _ in range(65))
    connection.request("POST", "/v1/tokens", chunks, JSON | {"Authorization": f"Bearer {app_client.token}"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_large_body_is_read_only_from_somebody(app_client: Client) -> None:
    answer = post(app_client.with_token(None), b" " * 100_000)
    assert answer.status_code == 401


def test_a_body_that_is_not_json_is_refused(app_client: Client) -> None:
    answer = app_client.post("/v1/tokens", content=b"name=t", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/v1/scopes/a%00b", "/v1/roles?scope=a%00b", "/v1/principals/a%00"])
def test_an_address_with_nul_is_refused(app_client: Client, path: str) -> None:
    assert app_client.get(path).status_code == 422


def test_a_request_id_is_taken_over_or_made(app_client: Client) -> None:
    assert app_client.get("/v1/whoami", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = [app_client.get("/v1/whoami", headers={"X-Request-Id": given}).headers["x-request-id"] for given in ("a b", "x" * 65, "")]
    assert len(set(made)) == 3
    problem = app_client.get("/v1/nothing", headers={"X-Request-Id": "mine-2"})
    assert problem.json()["request_id"] == problem.headers["x-request-id"] == "mine-2"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/", 404, "not_found"), ("GET", "/v1/scopes/home/nope", 404, "not_found"), ("POST", "/v1/whoami", 405, "method_not_allowed"),
     ("GET", "/v1/scopes?limit=0", 422, "invalid_document"), ("GET", "/v1/scopes?page=%5B%5D", 422, "invalid_document")],
)  # fmt: skip
def test_every_refusal_is_a_problem(app_client: Client, method: str, path: str, status: int, code: str) -> None:
    answer = app_client.request(method, path)
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(body)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
)


@given(_values)
def test_what_passes_is_what_can_be_stored(value: Any) -> None:
    body = json.dumps(value).encode()
    holdable = not re.search(rb"(?<!\\)(?:\\\\)*\\u0000|NaN|Infinity", body)
    assert _passes(body) or not holdable
    if _passes(body):
        json.dumps(json.loads(body), ensure_ascii=False, allow_nan=False).encode()


def _passes(body: bytes) -> bool:
    try:
        check_json(body)
    except InvalidDocument:
        return False
    return True


@pytest.mark.parametrize("part", [b'"\\"', b'"\\', b"[", b'"', b"\\u0000", b'{"a":[', b"NaN,"])
def test_checking_costs_no_more_than_in_proportion(part: bytes) -> None:
    began = time.process_time()
    body = part * (4_000_000 // len(part))
    for content in (body, body + b"\\", b"[" * 100 + body):
        _passes(content)
    assert time.process_time() - began < 8, "seconds for 12 MB"
