"""docs/concepts/datasets.md: labels that are inherited, differences, digests: pure rules."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.spec.dataset_diff import difference
from bushel.spec.dataset_labels import LabelConflict, inherited, may_lie, reachable, share_a_site
from bushel.spec.manifest import BadManifest, Total, check_file_name, part_text, read_part, sha256, version_digest

NAMES = st.sampled_from(["cn", "de", "us"])
PURPOSES = st.sampled_from(["training", "mapping", "research"])
LABELS = st.fixed_dictionaries(
    {},
    optional={
        "jurisdiction": st.lists(NAMES, unique=True, max_size=3),
        "purpose": st.lists(PURPOSES, unique=True, min_size=1, max_size=3),
        "coordinate_system": st.just("wgs84"),
    },
)
NUMBERS = st.floats(-1e6, 1e6)
COLUMN = st.lists(st.none() | NUMBERS, min_size=0, max_size=8)


def taken(inputs: list[dict[str, Any]], own: dict[str, Any], **options: bool) -> dict[str, Any] | None:
    try:
        return inherited(inputs, own, **options)
    except LabelConflict:
        return None


@given(st.lists(LABELS, max_size=5), LABELS, st.randoms())
def test_the_order_of_inputs_does_not_matter(inputs: list[dict[str, Any]], own: dict[str, Any], chance: random.Random) -> None:
    shuffled = list(inputs)
    chance.shuffle(shuffled)
    assert taken(inputs, own) == taken(shuffled, own)


@given(st.lists(LABELS, max_size=4), LABELS, LABELS)
def test_an_input_more_never_makes_the_outcome_freer(inputs: list[dict[str, Any]], own: dict[str, Any], more: dict[str, Any]) -> None:
    before, after = taken(inputs, own), taken([*inputs, more], own)
    if before is None:
        assert after is None
    elif after is not None:
        assert set(before.get("jurisdiction", ())) <= set(after.get("jurisdiction", ()))
        if "purpose" in before:
            assert set(after["purpose"]) <= set(before["purpose"])


@given(st.lists(LABELS, max_size=3), st.lists(LABELS, max_size=3))
def test_a_step_between_changes_nothing(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    between = taken(first, {})
    whole = taken([*first, *second], {})
    if between is not None and whole is not None:
        assert taken([between, *second], {}) == whole


@given(st.lists(LABELS, max_size=4), LABELS)
def test_what_is_released_says_from_where(inputs: list[dict[str, Any]], own: dict[str, Any]) -> None:
    kept, released = taken(inputs, own), taken(inputs, own, released=True)
    if kept is not None and released is not None:
        assert "jurisdiction" not in released
        assert released.get("released_from", []) == kept.get("jurisdiction", [])
        assert released.get("purpose") == kept.get("purpose")


def test_coordinate_systems_that_differ_must_be_settled() -> None:
    inputs = [{"coordinate_system": "wgs84"}, {"coordinate_system": "gcj02"}]
    with pytest.raises(LabelConflict, match="gcj02, wgs84"):
        inherited(inputs, {})
    assert inherited(inputs, {"coordinate_system": "wgs84"}) == {"coordinate_system": "wgs84"}


def test_purposes_that_exclude_each_other_leave_none() -> None:
    with pytest.raises(LabelConflict, match="no purpose is left"):
        inherited([{"purpose": ["mapping"]}, {"purpose": ["training"]}], {})


def test_who_reaches_what() -> None:
    assert reachable([], None)
    assert reachable(["a"], "a")
    assert not reachable(["a"], "b")
    assert not reachable(["a"], None)
    assert share_a_site([], ["a"])
    assert not share_a_site(["a"], ["b"])
    assert may_lie([], "")
    assert may_lie(["cn"], "cn")
    assert not may_lie(["cn", "us"], "us")
    assert not may_lie(["cn"], "")


def version(columns: dict[str, list[float | None]], counters: dict[str, dict[str, int]], schema: dict[str, str]) -> dict[str, Any]:
    total = Total()
    statistics: dict[str, Any] = {"columns": {}, "counters": counters}
    for name, values in columns.items():
        numbers = [value for value in values if value is not None]
        statistics["columns"][name] = {
            "count": len(numbers), "nulls": len(values) - len(numbers), "min": min(numbers, default=None),
            "max": max(numbers, default=None), "sum": math.fsum(numbers), "sum_squares": math.fsum(each * each for each in numbers),
        }  # fmt: skip
    total.add({"files": 1, "bytes": 10, "records": 3, "schema": schema, "statistics": statistics})
    return {"labels": {}, "schema": total.schema, "statistics": total.statistics, "counts": total.counts}


KEYS = st.sampled_from(["a", "b", "c"])
VERSIONS = st.builds(
    version,
    st.dictionaries(KEYS, COLUMN, max_size=3),
    st.dictionaries(KEYS, st.dictionaries(KEYS, st.integers(0, 9), max_size=3), max_size=2),
    st.dictionaries(KEYS, st.sampled_from(["int64", "double"]), max_size=3),
)
PARTS = st.dictionaries(st.text("xyz", min_size=1, max_size=3), st.sampled_from(["sha256:1", "sha256:2"]), max_size=6)


@given(VERSIONS, PARTS)
def test_equal_versions_do_not_differ(one: dict[str, Any], parts: dict[str, str]) -> None:
    found = difference(one, one, parts, parts)
    assert found["same"]
    assert not any(found[name] for name in ("schema", "labels", "columns", "counters"))
    assert not any(each["count"] for each in found["parts"].values())


@given(VERSIONS, VERSIONS, PARTS, PARTS)
def test_the_other_way_round_is_the_same_difference(
    old: dict[str, Any], new: dict[str, Any], old_parts: dict[str, str], new_parts: dict[str, str]
) -> None:
    there, back = difference(old, new, old_parts, new_parts), difference(new, old, new_parts, old_parts)
    assert there["same"] == back["same"]
    assert set(there["parts"]["added"]["names"]) == set(back["parts"]["removed"]["names"])
    assert there["schema"].keys() == back["schema"].keys()
    for name, change in there["columns"].items():
        assert (change["old"], change["new"]) == (back["columns"][name]["new"], back["columns"][name]["old"])


@given(st.dictionaries(st.text("ab/", min_size=1, max_size=5), st.binary(max_size=4), max_size=5), st.randoms())
def test_a_part_is_its_content_whatever_the_order_of_its_files(files: dict[str, bytes], chance: random.Random) -> None:
    described = [{"name": name, "size_bytes": len(data), "digest": sha256(data), "records": 0} for name, data in files.items()]
    try:
        text = part_text(described, {}, {})
    except BadManifest:
        return
    chance.shuffle(described)
    assert part_text(described, {}, {}) == text
    assert read_part(text, sha256(text))["files"] == sorted(described, key=lambda file: file["name"])
    with pytest.raises(BadManifest):
        read_part(text + b" ", sha256(text))


@given(st.lists(st.tuples(st.text("abc", min_size=1), st.sampled_from(["d1", "d2"])), max_size=5))
def test_a_version_is_its_parts_in_their_order(parts: list[tuple[str, str]]) -> None:
    assert version_digest({}, parts) == version_digest({}, iter(parts))
    assert version_digest({}, [*parts, ("z", "d1")]) != version_digest({}, parts)
    if parts != parts[::-1]:
        assert version_digest({}, parts[::-1]) != version_digest({}, parts)


@pytest.mark.parametrize("name", ["", "/x", "../x", "a/../b", "a//b", "part.json", "a\\b", "a\nb", "x" * 600, "./x"])
def test_names_that_would_lie_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(BadManifest):
        check_file_name(name)
