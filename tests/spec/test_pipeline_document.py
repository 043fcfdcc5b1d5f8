"""docs/reference/pipeline.md: what may be written, and what is said of what may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.domain.errors import InvalidDocument
from bushel.pipelines import Pipeline, Task
from bushel.spec.canary import Rule
from bushel.spec.canary_stages import canary_stages
from bushel.spec.pipeline_canonical import canonical_pipeline, needed_by, space_of
from bushel.spec.schema import pipeline_schema


def pipeline(**fields: Any) -> dict[str, Any]:
    return {"name": "p", "stages": {"a": {"run": "true"}}, **fields}


def problems(document: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidDocument) as error:
        canonical_pipeline(document)
    return [(problem.pointer, problem.message) for problem in error.value.problems]


def test_a_stage_takes_what_it_leaves_out_from_the_defaults() -> None:
    defaults = {"resources": {"cpu": 2}, "env": {"A": "1"}, "retry": {"attempts": 5}}
    stages = {"a": {"run": "true", "resources": {"memory": "2GiB"}, "env": {"B": "2"}}}
    stage = canonical_pipeline(pipeline(defaults=defaults, stages=stages))["stages"]["a"]
    assert stage["resources"] == {"cpu": 2, "memory": 2 * 1024**3}
    assert stage["env"] == {"A": "1", "B": "2"}
    assert stage["retry"]["attempts"] == 5


def test_a_canonical_document_is_its_own_canonical_form() -> None:
    stages = {
        "sum": {"once": True, "run": "sum", "after": "b"},
        "b": {"run": ["b"], "after": [{"stage": "a", "edge": "window", "before": 1}], "outputs": {"x": "y"}, "limit": 3},
        "a": {"run": "a", "code": "v2", "bad_records": {"most": 1}},
    }
    gates = {"rows": ["within  2.0 %", "at least 0.50"], "columns": {"x": {"nulls": "at most 1%"}}}
    canary = {"share": 0.1, "gates": gates, "data_sets": {}}
    windows = {"windows": {"every": "1h", "start": "2026-01-01T00:00:00+02:00"}}
    made = canonical_pipeline(pipeline(stages=stages, partitions=windows, limits={"running": 5}, deadline="2h", canary=canary))
    assert list(made["stages"]) == ["a", "b", "sum"]
    assert made["canary"] == {"share": 0.1, "gates": {"rows": ["within 2%", "at least 0.5"], "columns": {"x": {"nulls": ["at most 1%"]}}}}
    assert made["stages"]["sum"]["after"] == [{"stage": "b", "edge": "all", "on": "success"}]
    assert made["partitions"]["windows"]["start"] == "2025-12-31T22:00:00Z"
    assert canonical_pipeline(json.loads(json.dumps(made))) == made


@pytest.mark.parametrize(
    ("document", "where", "said"),
    [
        ({"stages": {"a": {"run": "true", "resources": {"gpus": 8}}}}, "/stages/a/resources/gpus", "Did you mean `gpu`?"),
        ({"stages": {"a": {"run": "true", "aftr": "b"}}}, "/stages/a/aftr", "Did you mean `after`?"),
        ({"stages": {"a": {}}}, "/stages/a", "`run` is needed"),
        ({"stages": {}}, "/stages", "must not be empty"),
        ({"stages": {"a": {"run": "true", "after": "decod"}, "decode": {"run": "true"}}}, "/stages/a/after/0", "Did you mean decode?"),
        ({"stages": {"a": {"run": "x", "after": "b"}, "b": {"run": "x", "after": "a"}}}, "/stages/a/after", "in a circle"),
        ({"stages": {"a": {"run": "x", "once": True, "partitions": ["x"]}}}, "/stages/a/partitions", "has no partitions"),
        ({"partitions": ["x", "x"]}, "/partitions/list/1", "twice"),
        ({"partitions": {"list": ["x"], "discovered_by": "a"}}, "/partitions", "needs one of"),
        ({"partitions": {"discovered_by": "b"}}, "/partitions/discovered_by", "there is no stage b"),
        ({"partitions": {"discovered_by": "a"}}, "/partitions/discovered_by", "once: true"),
        (
            {"partitions": {"windows": {"every": "1d", "start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}}},
            "/partitions/windows/end",
            "after the start",
        ),
        ({"partitions": {"windows": {"every": "1d", "start": "soon"}}}, "/partitions/windows/start", "not a time"),
        ({"priority": "low", "backfill_priority": "high"}, "/backfill_priority", "at most"),
        ({"stages": {"a": {"run": "x", "env": {"BUSHEL_RUN": "1"}}}}, "/stages/a/env/BUSHEL_RUN", "set by the platform"),
        (
            {
                "partitions": ["x"],
                "stages": {"a": {"run": "x"}, "b": {"run": "x", "once": True, "after": [{"stage": "a", "edge": "one-to-one"}]}},
            },
            "/stages/b/after/0/edge",
            "have different partitions",
        ),
        ({"stages": {"a": {"run": "x"}, "b": {"run": "x", "after": [{"stage": "a", "before": 1}]}}}, "/stages/b/after/0", "of a window"),
        ({"partitions": ["x"], "canary": {}}, "/canary", "needs one of `count`, `share` and `partitions`"),
        ({"canary": {"count": 1}}, "/canary", "nothing to sample"),
        ({"partitions": ["x"], "canary": {"count": 1, "of": "b"}}, "/canary/of", "there is no stage b"),
        ({"partitions": ["x"], "canary": {"count": 1, "gates": {"rows": "2%"}}}, "/canary/gates/rows/0", "Write `within 2%`"),
        ({"partitions": ["x"], "canary": {"count": 1, "gates": {"records": "within 2%"}}}, "/canary/gates/records", "Did you mean `rows`?"),
        ({"partitions": ["x"], "canary": {"count": 1, "gates": {"rows": "within 2%"}}}, "/canary/gates/rows", "nothing to measure"),
        ({"partitions": ["x"], "canary": {"count": 1, "data_sets": {"f": {}}}}, "/canary/data_sets/f", "no stage of the sample writes f"),
        (
            {"partitions": ["x"], "canary": {"count": 1, "gates": {"columns": {"speed": {"men": "within 2%"}}}}},
            "/canary/gates/columns/speed/men",
            "Did you mean `mean`?",
        ),
    ],
)
def test_a_problem_names_the_field_and_the_fix(document: dict[str, Any], where: str, said: str) -> None:
    found = problems(pipeline(**document))
    assert any(pointer == where and said in message for pointer, message in found), found


def fields(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = [
        "name",
        "stages",
        "partitions",
        "a",
        "b",
        "run",
        "after",
        "once",
        "list",
        "windows",
        "discovered_by",
        "stage",
        "edge",
        "limits",
        "canary",
        "count",
        "gates",
        "of",
        "data_sets",
    ]
    return st.dictionaries(st.sampled_from(names), inner, max_size=4)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | fields(inner),
    max_leaves=12,
)


@given(anything)
def test_whatever_is_sent_is_a_document_or_a_list_of_problems(document: Any) -> None:
    try:
        made = canonical_pipeline(document)
    except InvalidDocument:
        return
    assert canonical_pipeline(made) == made


def test_stages_with_the_same_partitions_are_told() -> None:
    stages = {
        "list": {"once": True, "run": "x"},
        "a": {"run": "x"},
        "b": {"run": "x", "partitions": {"discovered_by": "a"}, "after": "a"},
        "own": {"run": "x", "partitions": ["q"]},
    }
    made = canonical_pipeline(pipeline(partitions={"discovered_by": "list"}, stages=stages))
    assert {name: space_of(made, name) for name in made["stages"]} == {"list": "", "a": "list", "b": "a", "own": "=own"}
    assert needed_by(made, "a") == ["list"]


def test_each_stage_of_a_pipeline_with_a_canary_is_sampled_comes_before_or_waits() -> None:
    """docs/concepts/pipelines.md#canary"""
    stages = {
        "list": {"once": True, "run": "x"},
        "a": {"run": "x"},
        "b": {"run": "x", "after": [{"stage": "a", "edge": "window", "before": 1}]},
        "sum": {"once": True, "run": "x", "after": "b"},
        "c": {"run": "x", "after": ["b", "sum"]},
        "side": {"once": True, "run": "x"},
    }
    made = canonical_pipeline(pipeline(partitions={"discovered_by": "list"}, stages=stages, canary={"count": 1}))
    found = canary_stages(made)
    assert (found.sampled, found.before, found.held) == (("a", "b"), ("list",), ("sum", "c", "side"))


@pytest.mark.parametrize(
    ("rule", "measured", "last", "allowed"),
    [
        ("within 2%", 98, 100, True),
        ("within 2%", 97.9, 100, False),
        ("within 2%", -9.9, -10, True),
        ("within 2%", 0, 0, True),
        ("within 2%", 1, 0, False),
        ("within 10", 110, 100, True),
        ("at least 95%", 94, 100, False),
        ("at most 110%", 110, 100, True),
        ("at least 1000", 999, 0, False),
        ("at most -3", -4, 0, True),
    ],
)
def test_rules_of_gates(rule: str, measured: float, last: float, allowed: bool) -> None:
    """docs/reference/pipeline.md#canary"""
    assert Rule.read(rule).allows(measured, last, of_share=False) is allowed


def test_a_percentage_of_a_share_is_the_share() -> None:
    """docs/reference/pipeline.md#canary"""
    assert Rule.read("at most 1%").allows(0.01, 0.5, of_share=True)
    assert not Rule.read("at most 1%").allows(0.011, 0.5, of_share=True)
    assert Rule.read("within 1%").allows(0.021, 0.012, of_share=True)
    assert not Rule.read("within 1%").allows(0.023, 0.012, of_share=True)


def test_the_schema_is_one_document() -> None:
    assert "$ref" not in json.dumps(pipeline_schema())
    assert set(pipeline_schema()["required"]) == {"name", "stages"}


drive = Pipeline(
    "drive", discovered_by="discover", parameters={"hz": "10"}, defaults={"resources": {"cpu": 1}}, canary={"count": 2, "of": "shard"}
)


@drive.stage(once=True)
def discover(task: Task) -> list[str]:
    return [f"{task.pipeline}-1"]


@drive.stage(after="discover", limit=5, cache="never")
def decode_all(task: Task) -> None: ...


drive.command("shard", "shard.sh", after=[{"stage": "decode-all", "on": "end"}])


def test_python_makes_the_same_document() -> None:
    run = ["python3", "-m", "bushel.pipelines", f"{__name__}:"]
    written = {
        "name": "drive",
        "parameters": {"hz": "10"},
        "defaults": {"resources": {"cpu": 1}},
        "partitions": {"discovered_by": "discover"},
        "canary": {"count": 2, "of": "shard"},
        "stages": {
            "discover": {"once": True, "run": [*run[:-1], run[-1] + "discover"]},
            "decode-all": {"run": [*run[:-1], run[-1] + "decode_all"], "after": "discover", "limit": 5, "cache": "never"},
            "shard": {"run": "shard.sh", "after": [{"stage": "decode-all", "on": "end"}]},
        },
    }
    assert canonical_pipeline(drive.document()) == canonical_pipeline(written)
