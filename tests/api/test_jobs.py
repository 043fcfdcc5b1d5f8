"""Jobs over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bushel.store.database import Database

HELLO = {"name": "hello", "run": "echo hello"}


def test_a_submitted_job_can_be_read_by_id_and_by_name(app_client: Any) -> None:
    answer = app_client.post("/v1/jobs", json=HELLO)
    assert answer.status_code == 201, answer.text
    job = answer.json()
    assert job["metadata"]["name"] == "hello"
    assert job["metadata"]["project"] == "home/main/main"
    assert job["status"]["state"] == "queued"
    assert job["spec"]["resources"] == {"cpu": 1, "memory": 1024**3}
    assert answer.headers["Location"] == f"/v1/jobs/{job['metadata']['id']}"
    for reference in (job["metadata"]["id"], "hello"):
        read = app_client.get(f"/v1/jobs/{reference}")
        assert read.status_code == 200, read.text
        assert read.json() == job


def test_a_canonical_document_can_be_submitted_again(app_client: Any) -> None:
    first = app_client.post("/v1/jobs", json={**HELLO, "resources": {"gpu": "H100:8", "memory": "16GiB"}, "array": "0-9%3"}).json()
    second = app_client.post("/v1/jobs", json=first["spec"]).json()
    assert second["spec"] == first["spec"]
    assert second["metadata"]["id"] != first["metadata"]["id"]


def test_every_problem_of_a_batch_is_named_with_its_place_and_nothing_is_submitted(app_client: Any, database: Database) -> None:
    answer = app_client.post("/v1/jobs", json={"jobs": [HELLO, {"run": "x", "resources": {"gpus": 8}}, {"name": "no run"}]})
    assert answer.status_code == 422, answer.text
    problems = {problem["pointer"]: problem["message"] for problem in answer.json()["problems"]}
    assert problems["/jobs/1/resources/gpus"] == "unknown field. Did you mean `gpu`?"
    assert "/jobs/2" in problems
    assert "/jobs/2/name" in problems
    with database.transaction() as tx:
        assert tx.one("select count(*) as count from jobs")["count"] == 0


def test_a_batch_keeps_its_order(app_client: Any) -> None:
    answer = app_client.post("/v1/jobs", json={"jobs": [{"name": f"j{number}", "run": "true"} for number in range(500)]})
    assert answer.status_code == 201, answer.text
    items = answer.json()["items"]
    assert [item["metadata"]["name"] for item in items] == [f"j{number}" for number in range(500)]
    read = app_client.get(f"/v1/jobs/{items[17]['metadata']['id']}").json()
    assert read["metadata"]["name"] == "j17"


def test_too_many_jobs_in_one_request_are_refused_with_both_numbers(app_client: Any) -> None:
    answer = app_client.post("/v1/jobs", json={"jobs": [{"run": "true"}] * 10_001})
    assert answer.status_code == 413
    assert "10001" in answer.json()["detail"]
    assert "10000" in answer.json()["detail"]


def test_the_same_key_gives_the_same_jobs_however_often_and_at_once(app_client: Any, database: Database) -> None:
    def ask(_: int) -> Any:
        return app_client.post("/v1/jobs", json={"jobs": [HELLO, HELLO]}, headers={"Idempotency-Key": "one"})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({tuple(item["metadata"]["id"] for item in answer.json()["items"]) for answer in answers}) == 1
    with database.transaction() as tx:
        assert tx.one("select count(*) as count from jobs")["count"] == 2


def test_the_same_key_with_another_body_is_refused(app_client: Any) -> None:
    headers = {"Idempotency-Key": "one"}
    assert app_client.post("/v1/jobs", json=HELLO, headers=headers).status_code == 201
    other = app_client.post("/v1/jobs", json={**HELLO, "name": "other"}, headers=headers)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"


def test_a_dry_run_checks_all_and_leaves_nothing(app_client: Any, database: Database) -> None:
    answer = app_client.post("/v1/jobs", json=HELLO, params={"dry_run": "true"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"]["id"] is None
    assert answer.json()["status"]["state"] == "queued"
    assert answer.json()["start"]["starts_now"] is False, "there is no node yet"
    assert answer.json()["start"]["sentence"]
    assert app_client.post("/v1/jobs", json={**HELLO, "queue": "nowhere"}, params={"dry_run": "true"}).status_code == 422
    with database.transaction() as tx:
        assert tx.one("select (select count(*) from jobs) + (select count(*) from events where job_id is not null) as count")["count"] == 0


def test_pages_show_every_job_once_newest_first(app_client: Any) -> None:
    app_client.post("/v1/jobs", json={"jobs": [{"name": f"j{n}", "run": "true", "labels": {"even": str(n % 2 == 0)}} for n in range(25)]})
    for filters, expected in (
        ({}, range(24, -1, -1)),
        ({"label": "even=True"}, range(24, -1, -2)),
        ({"label": "even=True", "state": "queued", "submitter": "me"}, range(24, -1, -2)),
        ({"name": "j1*"}, [19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 1]),
        ({"name": "j7", "queue": "main"}, [7]),
        ({"state": ["running", "queued"], "queue": "main", "project": "home"}, range(24, -1, -1)),
        ({"state": "failed"}, []),
        ({"submitter": "nobody"}, []),
        ({"since": "2020-01-01T00:00:00Z", "before": "2999-01-01T00:00:00Z", "submitter": "admin"}, range(24, -1, -1)),
        ({"since": "2999-01-01T00:00:00Z"}, []),
        ({"before": "0001-01-01T00:00:00Z"}, []),
    ):
        names: list[str] = []
        page = None
        while True:
            answer = app_client.get("/v1/jobs", params={**filters, "limit": 4, **({"page": page} if page else {})})
            assert answer.status_code == 200, answer.text
            names += [item["metadata"]["name"] for item in answer.json()["items"]]
            page = answer.json()["next_page"]
            if page is None:
                break
        assert names == [f"j{number}" for number in expected], filters


def test_jobs_of_others_projects_are_not_there(app_client: Any, as_principal: Callable[..., Any], database: Database) -> None:
    job = app_client.post("/v1/jobs", json=HELLO).json()["metadata"]["id"]
    stranger = as_principal("stranger")
    viewer = as_principal("viewer", "viewer", "home/main/main")
    member = as_principal("member", "member", "home/main")
    manager = as_principal("manager", "manager", "home")
    for verb in ("hold", "release", "cancel", "retry"):
        assert stranger.post(f"/v1/jobs/{job}/{verb}").status_code == 404
        assert viewer.post(f"/v1/jobs/{job}/{verb}").status_code == 403
        assert member.post(f"/v1/jobs/{job}/{verb}").status_code == 403
    assert stranger.get(f"/v1/jobs/{job}").status_code == 404
    assert stranger.get("/v1/jobs").json()["items"] == []
    assert stranger.post("/v1/jobs", json={**HELLO, "project": "home/main/main"}).status_code == 404
    assert viewer.post("/v1/jobs", json={**HELLO, "project": "home/main/main"}).status_code == 403
    assert viewer.get(f"/v1/jobs/{job}").status_code == 200
    assert member.post("/v1/jobs", json={**HELLO, "priority": "high"}).status_code == 403
    assert manager.post(f"/v1/jobs/{job}/hold").status_code == 200


def test_hold_and_release_can_be_asked_twice(app_client: Any) -> None:
    job = app_client.post("/v1/jobs", json=HELLO).json()["metadata"]["id"]
    for _ in range(2):
        held = app_client.post(f"/v1/jobs/{job}/hold")
        assert held.status_code == 200, held.text
        assert held.json()["status"]["state"] == "held"
        assert held.json()["status"]["reason"] == "user_hold"
    for _ in range(2):
        assert app_client.post(f"/v1/jobs/{job}/release").json()["status"]["state"] == "queued"


def test_an_ended_job_can_be_retried_but_not_held(app_client: Any) -> None:
    job = app_client.post("/v1/jobs", json={**HELLO, "array": "0-9%2", "labels": {"a": "b"}}).json()["metadata"]["id"]
    early = app_client.post(f"/v1/jobs/{job}/retry")
    assert early.status_code == 409, early.text
    unknown = app_client.post(f"/v1/jobs/{job}/cancel", json={"indices": "8-11,20"})
    assert (unknown.status_code, unknown.json()["detail"]) == (404, f"job {job} has no indices 10-11,20")
    assert app_client.post(f"/v1/jobs/{job}/cancel", json={"indices": "0-3"}).status_code == 200
    cancelled = app_client.post(f"/v1/jobs/{job}/cancel", json={"message": "enough"}).json()
    assert cancelled["status"]["state"] == "cancelled"
    assert cancelled["status"]["ranges"]["cancelled"] == "0-9"
    assert app_client.post(f"/v1/jobs/{job}/hold").status_code == 409
    again = app_client.post(f"/v1/jobs/{job}/retry", headers={"Idempotency-Key": "r"})
    assert again.status_code == 201, again.text
    assert again.json()["metadata"]["retry_of"] == job
    assert again.json()["spec"]["array"] == "0-9%2"
    same = app_client.post(f"/v1/jobs/{job}/retry", headers={"Idempotency-Key": "r"})
    assert same.json()["metadata"]["id"] == again.json()["metadata"]["id"]


def test_everything_that_a_filter_selects_is_cancelled(app_client: Any) -> None:
    app_client.post("/v1/jobs", json={"jobs": [{"run": "true", "labels": {"sweep": str(number % 2)}} for number in range(20)]})
    assert app_client.post("/v1/jobs/cancel", json={"filter": {}}).status_code == 422
    request = {"json": {"filter": {"labels": {"sweep": "1"}}, "message": "wrong seed"}, "headers": {"Idempotency-Key": "c"}}
    assert app_client.post("/v1/jobs/cancel", **request).json() == {"cancelled": 10, "refused": 0}
    app_client.post("/v1/jobs", json={"run": "true", "labels": {"sweep": "1"}})
    assert app_client.post("/v1/jobs/cancel", **request).json() == {"cancelled": 0, "refused": 0}, "a job submitted since is not meant"
    assert len(app_client.get("/v1/jobs", params={"state": "cancelled"}).json()["items"]) == 10


def test_the_schema_can_be_asked_for(app_client: Any) -> None:
    schema = app_client.get("/v1/schemas/job").json()
    assert schema["properties"]["resources"]["properties"]["gpu"]["description"]
    assert app_client.get("/v1/openapi.json").status_code == 200


def test_bodies_that_are_no_documents_are_refused_in_words(app_client: Any) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"", b"[", b"[]", b"5", b'{"jobs": []}', b'{"jobs": 3}', b'{"jobs": [1], "x": 1}', b'{"run": "\\u0000"}', b"[" * 100_000):
        answer = app_client.post("/v1/jobs", content=body, headers=headers)
        assert answer.status_code == 422, (body[:40], answer.text)
        assert answer.json()["problems"], body[:40]
