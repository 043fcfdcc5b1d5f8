"""The job document: every field against its schema and against nonsense."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bushel.domain.errors import InvalidDocument
from bushel.spec.canonical import canonical, canonical_batch
from bushel.spec.job import FIELDS_AT
from bushel.spec.problems import LIST_TAG, TEXT_TAG
from bushel.spec.schema import job_schema
from bushel.workloads.compile import compile_job

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["1h", "4GiB", "H100:8", "0-9%2", "a"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)

FULL: dict[str, Any] = {
    "name": "train-resnet",
    "project": "acme/research/vision",
    "queue": "vision",
    "image": "registry.example/train@sha256:" + "a" * 64,
    "workdir": "sha256:" + "b" * 64,
    "setup": "pip install -r requirements.txt",
    "run": "python train.py",
    "env": {"EPOCHS": 3, "NAME": "x"},
    "secrets": ["HF_TOKEN"],
    "resources": {"cpu": "500m", "memory": "16GiB", "gpu": {"model": ["H100", "H200"], "count": 1, "share": 0.25}, "disk": "100GiB"},
    "array": "0-999%50",
    "placement": {
        "sites": ["cn-east"],
        "clusters": ["east-1"],
        "require": "rack",
        "prefer": "block",
        "spread": "host",
        "labels": {"a": "b"},
    },
    "priority": "high",
    "time_limit": "2h",
    "expected_duration": "40m",
    "after": ["prepare", {"job": "fetch", "on": "end"}],
    "retry": {"attempts": 3, "on": ["infrastructure", "preempted"], "backoff": "10s"},
    "preemption": {"grace": "60s", "notice": "USR1", "checkpoint": True},
    "labels": {"cost-center": "r42"},
    "hold": True,
}


def problems_of(document: Any) -> dict[str, str]:
    with pytest.raises(InvalidDocument) as caught:
        canonical(document)
    return {problem.pointer: problem.message for problem in caught.value.problems}


def check(document: Any) -> None:
    """It is refused in words, or its canonical form is stable, can travel, and has a shape."""
    try:
        found = canonical(document)
    except InvalidDocument as refusal:
        check_refusal(refusal)
        return
    travelled = json.loads(json.dumps(found, allow_nan=False).encode())
    assert canonical(travelled) == found
    shape = compile_job(found)
    assert shape.task_count >= 1
    assert shape.element_count >= 1
    hash(shape)


def check_refusal(refusal: InvalidDocument) -> None:
    assert refusal.problems
    for problem in refusal.problems:
        assert problem.pointer == "" or problem.pointer.startswith("/")
        assert problem.message
        assert "pydantic" not in problem.message


def test_a_full_document_comes_to_numbers() -> None:
    job = canonical(FULL)
    assert job["resources"] == {
        "cpu": 0.5,
        "memory": 16 * 2**30,
        "gpu": {"model": ["H100", "H200"], "count": 1, "share": 0.25},
        "disk": 100 * 2**30,
    }
    assert job["priority"] == 750
    assert job["time_limit"] == 7200
    assert job["env"] == {"EPOCHS": "3", "NAME": "x"}
    assert job["after"] == [{"job": "prepare", "on": "success"}, {"job": "fetch", "on": "end"}]
    assert job["preemption"] == {"grace": 60, "notice": "SIGUSR1", "checkpoint": True}
    shape = compile_job(job)
    assert shape.element_count == 1000
    assert shape.array_limit == 50
    assert shape.groups[0].request.gpu_milli == 250
    check(FULL)


def test_only_run_is_needed() -> None:
    job = canonical({"run": ["/usr/bin/python3", "x.py"]})
    assert job["name"] == "python3"
    assert job["resources"] == {"cpu": 1, "memory": 2**30}
    assert problems_of({}) == {"": "`run` is needed: what the job should run"}


@given(st.sampled_from([*sorted(FULL), "nodes", "groups"]), JSON)
@settings(max_examples=400, deadline=None)
def test_no_value_of_any_field_makes_it_fall_over(field: str, value: Any) -> None:
    check({**{key: kept for key, kept in FULL.items() if key != "array"}, field: value})


@given(JSON)
@example({"[key]": 1, "run": "x"})
@example({TEXT_TAG: 1, "run": "x", "env": {TEXT_TAG: 1}, "resources": {LIST_TAG: 1, "[key]": 2}})
@settings(max_examples=200, deadline=None)
def test_no_document_makes_it_fall_over(document: Any) -> None:
    check(document)


PLACES = [place for place in FIELDS_AT if place and "*" not in place]


@given(st.sampled_from(PLACES), st.data())
@settings(max_examples=300, deadline=None)
def test_no_nested_value_makes_it_fall_over(place: tuple[str, ...], data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(FIELDS_AT[place]))
    document: Any = {field: data.draw(JSON)}
    for part in reversed(place):
        document = {part: document}
    check({"run": "x", **document})


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS_AT["groups", "*"]), JSON, max_size=5), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_no_groups_make_it_fall_over(groups: list[Any]) -> None:
    check({"run": "x", "groups": [{"name": f"g{number}", **group} for number, group in enumerate(groups)]})


@pytest.mark.parametrize(
    ("document", "pointer", "sentence"),
    [
        ({"resources": {"gpus": 8}}, "/resources/gpus", "Did you mean `gpu`?"),
        ({"gpu": 8}, "/gpu", "Did you mean `resources.gpu`?"),
        ({"command": "x"}, "/command", "Did you mean `run`?"),
        ({"groups": [{"name": "a", "nodes": 2}]}, "/groups/0/nodes", "unknown field"),
        ({"labels": {f"k{number}": "" for number in range(10_000)}}, "/labels", "has 10000 entries; the most is 64"),
        ({"run": "a\0b"}, "/run", "NUL"),
        ({"env": {"A": "a\0b"}}, "/env/A", "NUL"),
        ({"labels": {"a": "\x1b[2J"}}, "/labels/a", "control characters"),
        ({"array": "0-" + "9" * 6000}, "/array", "is not an index"),
        ({"env": {"A": 1.5}}, "/env/A", "quotes"),
        ({"env": {"BUSHEL_JOB_ID": "x"}}, "/env/BUSHEL_JOB_ID", "set by the platform"),
        ({"env": {"a b": "x"}}, "/env/a b", "letters, digits"),
        ({"array": "0-9", "nodes": 2}, "/nodes", "single tasks"),
        ({"array": "0-9", "groups": [{"name": "a"}]}, "/array", "groups"),
        ({"nodes": 12, "placement": {"slices": {"size": 8, "level": "rack"}}}, "/nodes", "12 tasks cannot be cut into slices of 8"),
        ({"placement": {"slices": {"size": 8, "level": "rack"}}}, "/nodes", "1 task cannot be cut"),
        ({"nodes": 8, "placement": {"slices": {"size": 8}}}, "/placement/slices/level", "needed"),
        (
            {"nodes": 8, "placement": {"slices": {"size": 8, "level": "rack"}, "spread": "host"}},
            "/placement/spread",
            "leave one of them out",
        ),
        ({"groups": [{"name": "a", "count": 8, "min": 6}], "placement": {"slices": {"size": 4, "level": "rack"}}}, "/groups/0/min", "of 4"),
        ({"array": 5}, "/array", "0-999"),
        ({"array": "0-20000000"}, "/array", "at most"),
        ({"array": "9-0"}, "/array", "backwards"),
        ({"priority": 1001}, "/priority", "low, normal, high"),
        ({"time_limit": "0s"}, "/time_limit", "between"),
        ({"retry": {"attempts": 0}}, "/retry/attempts", "at least 1"),
        ({"retry": {"on": ["cosmic-rays"]}}, "/retry/on/0", "application"),
        ({"after": [{"job": "a", "on": "tuesday"}]}, "/after/0/on", "success"),
        ({"resources": {"memory": 64}}, "/resources/memory", "bytes"),
        ({"resources": {"gpu": {"count": 2, "share": 0.5}}}, "/resources/gpu/share", "one accelerator"),
        ({"groups": [{"name": "a", "count": 1, "min": 2}]}, "/groups/0/min", "at most"),
        ({"groups": [{"name": "a"}, {"name": "a"}]}, "/groups/1/name", "too"),
        ({"groups": [{"name": "a", "count": 9_999}, {"name": "b", "count": 2}]}, "/groups", "10001 tasks"),
        ({"preemption": {"notice": "SIGKILL"}}, "/preemption/notice", "SIGUSR1"),
        ({"hold": "yes"}, "/hold", "true or false"),
        ({"nodes": 10**5000}, "/nodes", "at most"),
        ({"run": "x" * 200_000}, "/run", "the most is"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(document: Any, pointer: str, sentence: str) -> None:
    assert sentence in problems_of({"run": "x", **document})[pointer]


def test_all_problems_are_told_at_once() -> None:
    found = problems_of({"name": "a b", "resources": {"cpu": "many", "gpus": 1}, "hold": 3, "array": "1", "nodes": 3})
    assert set(found) == {"/name", "/resources/cpu", "/resources/gpus", "/hold", "/nodes", ""}


def test_groups_take_from_the_job_what_they_leave_out() -> None:
    document = {
        "run": "worker",
        "resources": {"cpu": 2, "gpu": "H100:1"},
        "groups": [{"name": "driver", "run": "drive", "resources": {"gpu": 0}}, {"name": "executor", "count": 8, "min": 2}],
    }
    shape = compile_job(canonical(document))
    driver, executor = shape.groups
    assert (driver.request.gpu_milli, driver.request.cpu_milli, driver.count) == (0, 2000, 1)
    assert (executor.request.gpu_milli, executor.count, executor.min_count) == (1000, 8, 2)
    assert shape.gang
    assert shape.first_rank("executor") == 1
    check(document)


def test_a_batch_stops_telling_after_a_hundred_problems() -> None:
    with pytest.raises(InvalidDocument) as caught:
        canonical_batch([{"run": 5}] * 1000)
    assert len(caught.value.problems) == 100
    assert caught.value.problems[17].pointer == "/jobs/17/run"


def test_a_thousand_documents_are_read_within_60_ms() -> None:
    documents = [{**FULL, "name": f"job-{number}"} for number in range(1000)]
    canonical_batch(documents)
    began = time.perf_counter()
    canonical_batch(documents)
    assert time.perf_counter() - began < 0.3, "five times the budget, for busy machines"


def test_the_schema_names_every_field_and_explains_it() -> None:
    schema = job_schema()
    assert "$defs" not in json.dumps(schema)
    assert set(schema["properties"]) == set(FIELDS_AT[()])
    for name, field in schema["properties"].items():
        assert field.get("description"), name


def test_the_reference_has_an_anchor_for_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "job.md").read_text()
    anchors = {line.lstrip("# ").strip() for line in page.splitlines() if line.startswith("##")}
    for place, fields in FIELDS_AT.items():
        parts = [part for part in place if part != "*"]
        if len(parts) > 1:
            continue  # the fields of a group's resources are those of the job's; a gpu's are one table
        for field in fields:
            assert "-".join((*parts, field)) in anchors
