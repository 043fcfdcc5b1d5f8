"""Forecasts of durations, each a sentence of docs/concepts/scheduling.md."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.durations import KEPT, Durations, Forecast, Kind, quantiles_after, remaining_seconds

seconds = st.floats(1.0, 1e6)


def taught(kind: Kind, lengths: list[float]) -> Durations:
    durations = Durations()
    for number, length in enumerate(lengths):
        durations.submitted(number, kind)
        durations.ended(number, length)
    return durations


@given(st.floats(60.0, 1e5))
@settings(max_examples=30)
def test_what_always_took_as_long_is_expected_to_take_as_long(length):
    forecast = taught(Kind("vision", "ann", "train"), [length] * 40).of_kind(Kind("vision", "ann", "train"))
    assert forecast.median == pytest.approx(length, rel=0.15)
    low, high = forecast.interval()
    assert low <= length <= high


@given(st.floats(0.05, 20.0))
@settings(max_examples=30)
def test_a_declaration_is_corrected_by_how_far_off_its_owner_was(factor):
    durations = Durations()
    for number in range(40):
        declared = 100.0 * (1 + number % 7)
        durations.submitted(number, Kind("vision", "ann", declared_seconds=declared))
        durations.ended(number, max(1.0, declared * factor))
    forecast = durations.of_kind(Kind("vision", "ann", declared_seconds=1000.0))
    assert forecast.median == pytest.approx(1000.0 * factor, rel=0.25)


def test_who_has_no_history_leans_on_the_queue():
    durations = taught(Kind("vision", "ann"), [5000.0] * 50)
    newcomer = durations.of_kind(Kind("vision", "bob"))
    stranger = Durations().of_kind(Kind("text", "eve"))
    assert abs(math.log(newcomer.median / 5000.0)) < abs(math.log(stranger.median / 5000.0))


def test_the_bout_a_job_was_submitted_in_counts_most():
    durations = Durations()
    kind = Kind("vision", "ann", "train")
    for number in range(60):
        durations.submitted(number, kind)
    for number in range(60):
        if number not in (10, 50):
            durations.ended(number, 100.0 if number < 30 else 10_000.0)
    assert durations.forecast(10).median < 500.0
    assert durations.forecast(50).median > 3000.0


def test_one_kind_of_work_that_is_slower_is_slower_for_others_too():
    durations = Durations()
    number = 0
    for queue in ("a", "b"):
        for _ in range(40):
            for name, length in (("quick", 100.0), ("slow", 3000.0)):
                durations.submitted(number, Kind(queue, name=name))
                durations.ended(number, length)
                number += 1
    for _ in range(20):
        durations.submitted(number, Kind("c", name="quick"))
        durations.ended(number, 100.0)
        number += 1
    assert durations.of_kind(Kind("c", name="slow")).median > 4 * durations.of_kind(Kind("c", name="quick")).median


@given(st.lists(st.tuples(st.integers(0, 2), seconds), max_size=40), st.lists(st.booleans(), min_size=40, max_size=40))
@settings(max_examples=30)
def test_asking_changes_no_answer(jobs, asked):
    quiet, curious = Durations(), Durations()
    for number, (queue, length) in enumerate(jobs):
        for durations in (quiet, curious):
            durations.submitted(number, Kind(queue))
        if asked[number]:
            curious.forecast(number)
        for durations in (quiet, curious):
            durations.ended(number, length)
    assert quiet.of_kind(Kind(0)) == curious.of_kind(Kind(0))


@given(st.floats(0.0, 12.0), st.floats(0.1, 3.0), st.floats(0.0, 1e6), st.floats(0.01, 0.99))
def test_what_has_run_so_long_runs_longer(location, scale, served, part):
    forecast = Forecast(location, scale)
    assert forecast.quantile_after(served, part) >= served
    assert forecast.remaining(served) > 0
    assert math.isfinite(forecast.remaining(served))


def test_the_mean_residual_life_is_that_of_the_distribution():
    draws = np.exp(np.random.default_rng(1).normal(5.0, 1.2, 400_000))
    for served in (1.0, 100.0, 1000.0):
        expected = float((draws[draws > served] - served).mean())
        assert remaining_seconds(np.array([5.0]), np.array([1.2]), np.array([served]))[0] == pytest.approx(expected, rel=0.05)
        median = float(np.median(draws[draws > served]))
        assert quantiles_after(np.array([5.0]), np.array([1.2]), np.array([served]), np.array([0.5]))[0] == pytest.approx(median, rel=0.05)


def test_what_is_remembered_is_bounded():
    durations = taught(Kind("vision"), [100.0] * (KEPT + 50))
    (family,) = durations._families.values()
    assert len(family.places) == len(family.levels) == KEPT
    assert not durations._jobs
