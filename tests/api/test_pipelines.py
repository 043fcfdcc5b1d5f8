"""Pipelines and runs over HTTP: plan, apply, run, look."""

from __future__ import annotations

from typing import Any

from tests.api.conftest import Client

WHERE = {"project": "home/main/main"}


def document(**fields: Any) -> dict[str, Any]:
    return {"name": "p", "partitions": ["a", "b"], "stages": {"one": {"run": "true"}, "two": {"run": "true", "after": "one"}}, **fields}


def test_the_same_document_makes_one_version(app_client: Client) -> None:
    first = app_client.post("/v1/pipelines", json=document(), params=WHERE)
    assert first.status_code == 200, first.text
    assert (first.json()["version"], first.json()["changed"]) == (1, True)
    again = app_client.post("/v1/pipelines", json=document(), params=WHERE).json()
    assert (again["version"], again["changed"]) == (1, False)
    assert app_client.post("/v1/pipelines", json=document(deadline="1h"), params=WHERE).json()["version"] == 2
    diff = app_client.get("/v1/pipelines/p/diff").json()
    assert diff == {"before": 1, "after": 2, "changes": [{"pointer": "/deadline", "before": None, "after": 3600}]}
    assert [row["version"] for row in app_client.get("/v1/pipelines/p/versions").json()["items"]] == [2, 1]
    assert list(app_client.get("/v1/pipelines/p").json()["document"]["stages"]) == ["one", "two"]


def test_a_plan_says_what_would_change_and_changes_nothing(app_client: Client) -> None:
    plan = app_client.post("/v1/pipelines/plan", json=document(), params=WHERE).json()
    assert plan["sentence"] == "p is new in home/main/main"
    assert [(stage["name"], stage["partitions"]) for stage in plan["stages"]] == [("one", 2), ("two", 2)]
    assert app_client.get("/v1/pipelines", params=WHERE).json()["items"] == []
    app_client.post("/v1/pipelines", json=document(), params=WHERE)
    changed = document()
    changed["stages"]["two"]["run"] = "false"
    plan = app_client.post("/v1/pipelines/plan", json=changed, params=WHERE).json()
    assert [change["pointer"] for change in plan["changes"]] == ["/stages/two/run"]
    assert [stage["changed"] for stage in plan["stages"]] == [[], ["code"]]


def test_what_a_stage_names_must_be_there(app_client: Client) -> None:
    wrong = document()
    wrong["stages"]["one"] |= {"secrets": ["NOPE"], "placement": {"sites": ["nowhere"]}}
    refused = app_client.post("/v1/pipelines", json=wrong, params=WHERE)
    assert refused.status_code == 422
    assert {problem["pointer"] for problem in refused.json()["problems"]} == {
        "/stages/one/secrets/0",
        "/stages/one/placement/sites/0",
    }


def test_a_run_is_shown_with_its_stages_its_grid_and_its_partitions(app_client: Client) -> None:
    app_client.post("/v1/pipelines", json=document(), params=WHERE)
    made = app_client.post("/v1/pipelines/p/runs", json={})
    assert made.status_code == 201, made.text
    assert made.headers["Location"] == "/v1/pipelines/p/runs/1"
    run = app_client.get("/v1/pipelines/p/runs/latest").json()
    assert [(stage["name"], stage["counts"]["gated"]) for stage in run["stages"]] == [("one", 2), ("two", 2)]
    grid = app_client.get("/v1/pipelines/p/runs/1/grid", params={"columns": 1}).json()
    assert grid["rows"][0] == {"stage": "one", "partitions": 2, "cells": [[0, 0, 0, 0, 0, 2]], "taken_over": []}
    first = app_client.get("/v1/pipelines/p/runs/1/partitions", params={"stage": "two", "limit": 1}).json()
    assert [row["partition"] for row in first["items"]] == ["a"]
    second = app_client.get("/v1/pipelines/p/runs/1/partitions", params={"stage": "two", "page": first["next_page"]}).json()
    assert [(row["partition"], row["state"]) for row in second["items"]] == [("b", "gated")]
    assert app_client.get("/v1/pipelines/p/runs/2").status_code == 404
    job = app_client.get(f"/v1/jobs/{run['stages'][0]['jobs'][0]}").json()
    assert (job["status"]["state"], job["status"]["reason"]) == ("held", "upstream")
    assert app_client.post(f"/v1/jobs/{job['metadata']['id']}/retry", json={"only": "all"}).status_code == 409


def test_one_key_begins_one_run(app_client: Client) -> None:
    app_client.post("/v1/pipelines", json=document(), params=WHERE)
    numbers = {app_client.post("/v1/pipelines/p/runs", json={}, headers={"Idempotency-Key": "k"}).json()["number"] for _ in range(3)}
    assert numbers == {1}
    assert len(app_client.get("/v1/pipelines/p/runs").json()["items"]) == 1


def test_a_cancelled_stage_job_lets_go_of_what_was_gated(app_client: Client) -> None:
    app_client.post("/v1/pipelines", json=document(), params=WHERE)
    run = app_client.post("/v1/pipelines/p/runs", json={}).json()
    job = run["stages"][1]["jobs"][0]
    cancelled = app_client.post(f"/v1/jobs/{job}/cancel", json={}).json()
    assert (cancelled["status"]["state"], cancelled["status"]["counts"]["cancelled"]) == ("cancelled", 2)


def test_the_rest_says_that_it_waits_for_the_sample(app_client: Client) -> None:
    """docs/concepts/pipelines.md#canary"""
    app_client.post("/v1/pipelines", json={**document(), "canary": {"count": 1}}, params=WHERE)
    run = app_client.post("/v1/pipelines/p/runs", json={}).json()
    assert (run["canary"]["state"], run["canary"]["count"]) == ("sampling", None)
    assert run["canary"]["sentence"] == "the sample is chosen when its partitions are known"
    explained = app_client.get(f"/v1/jobs/{run['stages'][0]['jobs'][0]}/explain").json()
    assert (
        "wait for what they are made of, for the canary's sample, or for room under the limits of p" in explained["reasons"][0]["sentence"]
    )


def test_a_plan_names_the_sample_and_its_gates(app_client: Client) -> None:
    """docs/guides/pipelines.md#try-a-change-on-a-sample-first"""
    plan = app_client.post("/v1/pipelines/plan", json={**document(), "canary": {"count": 1}}, params=WHERE).json()
    assert (plan["canary"]["count"], plan["canary"]["sampled"], plan["canary"]["gates"]) == (
        1,
        ["one", "two"],
        ["failed partitions at most 0"],
    )
    assert plan["canary"]["partitions"][0] in ("a", "b")
    assert app_client.post("/v1/pipelines/plan", json=document(), params=WHERE).json()["canary"] is None


def test_a_gated_stage_says_what_it_waits_for(app_client: Client) -> None:
    app_client.post("/v1/pipelines", json=document(), params=WHERE)
    run = app_client.post("/v1/pipelines/p/runs", json={}).json()
    explained = app_client.get(f"/v1/jobs/{run['stages'][1]['jobs'][0]}/explain").json()
    assert "2 partitions wait for what they are made of, or for room under the limits of p" in explained["sentence"]
    assert explained["reasons"][0]["topic"] == "upstream"
