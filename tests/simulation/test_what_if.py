"""docs/guides/what-if.md: the past under other rules; the same jobs for all, differences with their spread."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.plan import Policy
from bushel.simulation.engine import Setting, Simulation
from bushel.simulation.installation import read_installation, with_more_nodes, with_queue, without_nodes
from bushel.simulation.trace import TraceJob, TraceProblem, gang_of_accelerators
from bushel.simulation.what_if import Difference, resampled
from bushel.spec.canonical import canonical

START = datetime(2026, 3, 2, tzinfo=UTC)
GIB = 1 << 30


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def a_job(number: int, queue: str, submitted: float, seconds: float | None, gpus: int = 4) -> dict[str, Any]:
    spec = canonical({"run": "true", "resources": {"cpu": 1, "memory": "1GiB", "gpu": gpus}})
    ended = at(submitted + 1 + seconds / 60) if seconds is not None else None
    return {
        "metadata": {"id": f"j{number}", "name": "train", "queue": queue, "submitter": "ann", "submitted_at": at(submitted)},
        "spec": spec,
        "status": {"started_at": at(submitted + 1) if seconds is not None else None, "ended_at": ended},
    }


def a_node(name: str, **rest: Any) -> dict[str, Any]:
    capacity = {"cpu": 64_000, "memory": 512 * GIB, "disk": 1000 * GIB, "gpu/H100": 8000}
    return {"name": name, "cluster": "c1", "site": "here", "state": "ready", "cordoned": False, "capacity": capacity} | {
        "labels": {},
        "topology": [["rack", "r1"]],
        **rest,
    }


def a_queue(name: str, **rest: Any) -> dict[str, Any]:
    return {"name": name, "parent": None, "weight": 1000, "resource_quota": {}, "guarantee": {}, "lending": {}, "borrowing": {}, **rest}


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Two teams, each with twice the work that two nodes can do; one of them is guaranteed both."""
    jobs = [a_job(n, ("team-a", "team-b")[n % 2], n * 4.0, 1500.0 + 37 * n % 900) for n in range(60)]
    jobs.append(a_job(99, "team-a", 10.0, None))
    file = tmp_path / "installation.json"
    queues = [a_queue("team-a"), a_queue("team-b", guarantee={"gpu": {"H100": 12}}, resource_quota={"cpu": 64})]
    nodes = [a_node("n1"), a_node("n2"), a_node("n3", state="lost")]
    file.write_text(json.dumps({"jobs": jobs, "nodes": nodes, "queues": queues}))
    return file


def replay(file: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bushel.simulation.replay", *map(str, words), str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_an_installation_is_read_as_it_is_told(told: Path) -> None:
    past = read_installation(told)
    assert (len(past.jobs), past.jobs_left_out, len(past.world.nodes), past.nodes_left_out) == (60, 1, 2, 1)
    assert past.jobs[0].arrival_seconds == 0.0
    assert past.jobs[1].runtime_seconds == 1537.0
    (team_b,) = [queue for queue in past.world.queues if queue.name == "team-b"]
    assert (team_b.guarantee, team_b.quota) == ({"gpu/H100": 12_000}, {"cpu": 64_000})


def test_changes_change_what_they_name_and_nothing_else(told: Path) -> None:
    world = read_installation(told).world
    more = with_more_nodes(world, "2xH100:8")
    assert len(more.nodes) == 4
    assert len({node.id for node in more.nodes}) == 4
    assert more.queues == world.queues
    assert [node.name for node in without_nodes(world, "n2").nodes] == ["n1"]
    changed = with_queue(world, "team-b:guarantee=none,weight=500,quota.cpu=32,quota.memory=1TiB")
    by_name = {queue.name: queue for queue in changed.queues}
    assert by_name["team-a"] == next(queue for queue in world.queues if queue.name == "team-a")
    team_b = by_name["team-b"]
    assert (team_b.guarantee, team_b.weight, team_b.quota) == ({}, 500, {"cpu": 32_000, "memory": 1024 * GIB})


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--queue", "team-c:weight=1"), "team-c"),
        (("--queue", "team-b"), "says no change"),
        (("--queue", "team-b:guarantee.H100=lots"), "lots"),
        (("--queue", "team-b:colour=red"), "colour"),
        (("--remove", "x*"), "n1, n2"),
        (("--add", "many"), "many"),
        (("--policy", "a:b=1"), "'b'"),
        ((), "nothing is changed"),
        (("--add", "1xH100:8", "--seeds", "0"), "--seeds"),
        (("--add", "1xH100:8", "--timeout", "0"), "not done within 0 s, at run 1 of 10"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(told: Path, words: tuple[str, ...], named: str) -> None:
    made = replay(told, *words)
    assert made.returncode == 1
    last = made.stderr.splitlines()[-1]
    assert last.startswith("bushel what-if: ")
    assert named in last


def test_more_nodes_shorten_the_wait_in_every_sample(told: Path) -> None:
    made = replay(told, "--add", "2xH100:8", "--seeds", "3", "--json")
    assert made.returncode == 0, made.stderr
    before, after = json.loads(made.stdout)
    assert (before["variant"], after["variant"]) == ("as it is", "changed")
    wait = after["measures"]["wait: mean"]
    assert wait["sure"]
    assert wait["most"] < 0
    assert len(wait["samples"]) == 3
    assert before["measures"]["wait: mean"]["difference"] == 0
    assert "6 of 6: changed, sample 2" in made.stderr


def test_two_policies_stand_side_by_side_and_the_bytes_are_the_same_twice(told: Path) -> None:
    words = ("--policy", "still:reclaim=no", "--policy", "patient:patience_seconds=9000", "--seeds", "2")
    first, second = replay(told, *words), replay(told, *words)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.splitlines()[0].split() == ["as", "it", "is", "still", "patient"]
    assert "* of the same sign in every sample" in first.stdout


def test_dropping_a_guarantee_moves_the_shares(told: Path) -> None:
    past = read_installation(told)
    changed = with_queue(past.world, "team-b:guarantee=none")
    held = []
    for world in (past.world, changed):
        outcomes = Simulation(past.jobs, world, Setting("x", Policy(reclaim=True))).run(until_seconds=7200)
        held.append({queue.name: queue.held for queue in outcomes.queues})
    assert held[0]["team-b"] > held[1]["team-b"]
    assert held[0]["team-a"] < held[1]["team-a"]


arrivals = st.lists(st.integers(0, 10_000), min_size=1, max_size=60)


@settings(max_examples=50, deadline=None)
@given(arrivals, st.integers(0, 5))
def test_a_sample_is_made_of_jobs_that_were_and_is_the_same_each_time(moments: list[int], sample: int) -> None:
    """docs/guides/what-if.md"""
    jobs = [
        TraceJob(n, "q", float(moment), 60.0 + n, gang_of_accelerators(1, 8))
        for n, moment in enumerate(sorted(m - min(moments) for m in moments), 1)
    ]
    drawn = resampled(jobs, sample)
    assert drawn == resampled(jobs, sample)
    assert {job.runtime_seconds for job in drawn} <= {job.runtime_seconds for job in jobs}
    assert [job.arrival_seconds for job in drawn] == sorted(job.arrival_seconds for job in drawn)
    assert all(0 <= job.arrival_seconds <= jobs[-1].arrival_seconds * 1.001 + 1e-6 for job in drawn)
    assert len({job.id for job in drawn}) == len(drawn)
    if sample == 0:
        assert drawn == jobs


def test_a_difference_is_sure_only_if_all_samples_agree() -> None:
    assert Difference.of([1.0, 2.0, 3.0], [0.5, 1.0, 2.9]).sure
    assert not Difference.of([1.0, 2.0, 3.0], [0.5, 1.0, 3.1]).sure
    assert Difference.of([1.0, 2.0], [3.0, 3.0]) == Difference(1.5, 1.0, 2.0)


def test_an_installation_without_a_past_says_so(tmp_path: Path) -> None:
    file = tmp_path / "empty.json"
    file.write_text(json.dumps({"jobs": [], "nodes": [a_node("n1")], "queues": []}))
    with pytest.raises(TraceProblem, match="--days"):
        read_installation(file)
