"""Start estimates, each a sentence of docs/concepts/scheduling.md."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.durations import Forecast
from bushel.scheduling.estimates import Calibration, Holding, raw_wait_seconds, service_sequence

SURE = 0.01


def sure(name: int, amount: int, length: float, served: float = 0.0) -> Holding:
    return Holding(name, amount, Forecast(math.log(length), SURE), served)


def test_who_fits_starts_now():
    assert raw_wait_seconds(3, 4, [sure(1, 4, 100.0)], []) == 0.0


def test_who_does_not_waits_for_the_end_of_what_runs_and_for_those_ahead():
    running = [sure(1, 4, 100.0, served=40.0), sure(2, 4, 500.0)]
    assert raw_wait_seconds(4, 0, running, []) == pytest.approx(60.0, rel=0.1)
    assert raw_wait_seconds(4, 0, running, [sure(3, 4, 300.0)]) == pytest.approx(360.0, rel=0.1)
    assert raw_wait_seconds(8, 0, running, []) == pytest.approx(500.0, rel=0.1)


@given(st.lists(st.tuples(st.integers(1, 8), st.floats(10, 1e4)), max_size=12), st.integers(1, 8))
@settings(max_examples=40)
def test_the_same_question_has_the_same_answer_and_more_room_no_later_one(jobs, amount):
    running = [sure(at, size, length) for at, (size, length) in enumerate(jobs)]
    first = raw_wait_seconds(amount, 0, running, [])
    assert first == raw_wait_seconds(amount, 0, running, [])
    assert raw_wait_seconds(amount, 4, running, []) <= first


@pytest.mark.parametrize(("bias", "spread"), [(1.0, 0.5), (4.0, 1.5), (0.2, 2.5)])
def test_four_starts_of_five_lie_in_the_interval_whatever_the_model_leaves_out(bias, spread):
    """docs/concepts/scheduling.md"""
    draws = np.random.default_rng(3)
    calibration = Calibration()
    hits = []
    for _ in range(2500):
        raw = float(np.exp(draws.normal(8, 1)))
        estimate = calibration.estimate("vision", raw)
        actual = raw * bias * float(np.exp(draws.normal(0, spread)))
        hits.append(estimate.low <= actual <= estimate.high)
        calibration.started("vision", estimate, actual)
    assert 0.75 <= np.mean(hits) <= 0.85


def test_the_interval_follows_when_the_load_changes():
    draws = np.random.default_rng(5)
    calibration = Calibration()
    hits = []
    for number in range(3000):
        estimate = calibration.estimate("vision", 3600.0)
        actual = 3600.0 * (1.0 if number < 1500 else 6.0) * float(np.exp(draws.normal(0, 1)))
        hits.append(estimate.low <= actual <= estimate.high)
        calibration.started("vision", estimate, actual)
    assert 0.75 <= np.mean(hits[1500:]) <= 0.85


def test_a_queue_with_a_weight_twice_as_large_is_served_twice_as_often():
    order = service_sequence(np.zeros(2), np.array([2.0, 1.0]), [0] * 6 + [1] * 6, [1] * 12)
    assert [row >= 6 for row in order[:9]].count(False) == 6
