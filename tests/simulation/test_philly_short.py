"""The benchmark of many tenants on one cluster, in its short form: jobs drawn here, files of the same columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import cluster_policies as policies
from benchmarks.shared_cluster import Trace, simulate


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Four tenants: the length of a job has to do with who submits it and what it is, with a long tail."""
    folder = tmp_path_factory.mktemp("tenants")
    files: list[Path] = []
    draws = np.random.default_rng(11)
    for tenant in range(4):
        arrival, rows = 0.0, ["arrival_s,model,gpus,v100_s"]
        for _ in range(120):
            arrival += float(draws.exponential(1500))
            model = int(draws.integers(0, 4))
            seconds = float(np.exp(draws.normal(6.5 + tenant / 2 + model / 2, 1.2)))
            rows.append(f"{arrival:.0f},model-{model},{draws.choice([1, 1, 2, 4, 8, 16])},{seconds:.0f}")
        files.append(folder / f"tenant-{tenant}.csv")
        files[-1].write_text("\n".join(rows) + "\n")
    return Trace.read(files)


def test_ours_is_quicker_and_fairer_than_policies_that_know_as_much(trace):
    servers = trace.servers_for(0.9)
    ours = simulate(trace, servers, policies.Bushel(trace))
    for other in (policies.Fifo(trace), policies.DominantShare(trace), policies.Easy(trace), policies.LeastAttainedService(trace)):
        theirs = simulate(trace, servers, other)
        assert ours.mean_completion < theirs.mean_completion, theirs.policy
        assert ours.service_index > theirs.service_index, theirs.policy


def test_every_policy_does_all_the_work_and_never_more_than_there_is_room_for(trace):
    for policy in (policies.Easy(trace), policies.Bushel(trace), policies.ShortestRemainingFirst(trace)):
        result = simulate(trace, trace.servers_for(0.9), policy)
        assert 0 < result.utilisation <= 1
        assert result.mean_completion >= float(trace.seconds.mean()) / 3600 - 1e-9


def test_the_same_trace_gives_the_same_result_twice(trace):
    assert simulate(trace, 4, policies.Bushel(trace)) == simulate(trace, 4, policies.Bushel(trace))
