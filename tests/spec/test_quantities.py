"""Amounts as people write them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.spec.quantities import cpu_milli, duration_seconds, gpu_request, size_bytes

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.from_regex(r"\d+(\.\d+)?[a-zA-Z]{0,3}", fullmatch=True)
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("2h", 7200), ("40m", 2400), ("1h30m", 5400), ("90", 90), (90, 90), ("1.5h", 5400), ("500ms", 0.5), (0.25, 0.25), ("1d", 86400)],
)
def test_durations(written: Any, seconds: float) -> None:
    assert duration_seconds(written) == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("16GiB", 16 * 2**30),
        ("16Gi", 16 * 2**30),
        ("100GB", 10**11),
        ("1.5GiB", 3 * 2**29),
        (4096, 4096),
        ("4096", 4096),
        ("512 MiB", 2**29),
    ],
)
def test_sizes(written: Any, size: int) -> None:
    assert size_bytes(written) == size


@pytest.mark.parametrize(("written", "milli"), [(4, 4000), ("0.5", 500), ("500m", 500), (0.1, 100), ("4", 4000)])
def test_cpus(written: Any, milli: int) -> None:
    assert cpu_milli(written) == milli


@pytest.mark.parametrize(
    ("written", "long_form"),
    [
        ("H100:8", {"model": ["H100"], "count": 8}),
        (8, {"count": 8}),
        ("8", {"count": 8}),
        ("H100", {"model": ["H100"], "count": 1}),
        (0.25, {"count": 1, "share": 0.25}),
        ("A100:0.5", {"model": ["A100"], "count": 1, "share": 0.5}),
    ],
)
def test_accelerators(written: Any, long_form: Any) -> None:
    assert gpu_request(written) == long_form


@pytest.mark.parametrize("written", ["2 hours", "", "h", "-1", "1h-30m", None, True, -1, float("nan"), float("inf"), "1" * 100])
def test_what_is_no_duration_says_what_to_write(written: Any) -> None:
    with pytest.raises(ValueError, match="Write 2h"):
        duration_seconds(written)


def test_a_unit_in_the_wrong_case_is_told_the_right_one() -> None:
    with pytest.raises(ValueError, match="Did you mean 16GiB"):
        size_bytes("16gib")


@given(ANYTHING)
def test_anything_is_an_amount_or_refused_in_words(value: Any) -> None:
    for read in (duration_seconds, size_bytes, cpu_milli):
        with suppress(ValueError):
            amount = read(value)
            assert amount >= 0
            assert read(amount) == amount or read is cpu_milli
    with suppress(ValueError):
        gpu_request(value)
