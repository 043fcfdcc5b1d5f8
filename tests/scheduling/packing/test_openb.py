"""A short form of the openb benchmark, on a made-up list."""

from __future__ import annotations

import numpy as np

from benchmarks.openb import seeds_of
from benchmarks.openb_churn import churn
from benchmarks.openb_fill import POLICIES, fill
from benchmarks.openb_trace import made_up_trace
from bushel.scheduling.kernels.mode import using


def test_a_cluster_gets_fuller_than_with_fgd_and_best_fit() -> None:
    trace = made_up_trace(nodes=60, pods=700, seed=3)
    with using(compiled=True):
        allocated = {name: np.mean([fill(trace, policy, seed).allocated for seed in (42, 43)]) for name, policy in POLICIES.items()}
    assert allocated["ours"] > allocated["FGD"]
    assert allocated["ours"] > allocated["BestFit"]


def test_with_departures_every_device_is_accounted_for() -> None:
    trace = made_up_trace(nodes=60, pods=700, seed=3)
    with using(compiled=True):
        for queueing in (True, False):
            result = churn(trace, POLICIES["ours"], queueing, 0.9, 4000, 1)
            assert 60 < result.allocated <= 100
            assert queueing == (result.lost == 0)


def test_with_departures_fewer_large_pods_are_lost_than_with_fgd_and_best_fit() -> None:
    trace = made_up_trace(nodes=120, pods=1000, seed=3)
    with using(compiled=True):
        lost = {
            name: np.mean([churn(trace, policy, False, 0.9, 12_000, seed).large_lost for seed in (1, 2, 3, 4)])
            for name, policy in POLICIES.items()
        }
    assert lost["ours"] < lost["FGD"]
    assert lost["ours"] < lost["BestFit"]


def test_seeds_are_given_as_a_range_or_a_list() -> None:
    assert seeds_of("42-45") == [42, 43, 44, 45]
    assert seeds_of("1,7") == [1, 7]
