"""How tasks are held to their amounts, with control groups and without."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.conftest import AgentProcess, ControlPlane, alive, wait_for


@pytest.fixture
def plain(new_agent: Callable[..., AgentProcess]) -> AgentProcess:
    """An agent that does without control groups."""
    return new_agent("plain", limits="rlimits").start().wait_registered()


def test_the_node_says_in_words_how_limits_are_held(plane: ControlPlane, plain: AgentProcess) -> None:
    limits = wait_for(lambda: plane.nodes, "the node's report")[0]["detail"]["limits"]
    assert limits["kind"] == "resource limits"
    assert "RLIMIT_DATA" in limits["memory"]
    assert limits["cpu"] == "not limited"
    assert len([said for said in limits.values() if "no control groups" in said]) == 1, "the cause is said once"


def test_without_control_groups_each_process_has_its_memory_limit(plane: ControlPlane, plain: AgentProcess) -> None:
    plane.want("aaaaa.0.1", ["python3", "-c", "bytearray(300_000_000)"], amounts={"cpu": 1000, "memory": 128 * 1024**2})
    task = plane.ended("aaaaa.0.1")
    assert task["exit_code"] == 1
    assert b"MemoryError" in plane.output("aaaaa.0.1", stream="stderr")
    assert task["usage"]["peak_memory_bytes"] < 128 * 1024**2


def test_without_control_groups_the_whole_tree_still_stops(plane: ControlPlane, plain: AgentProcess, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    plane.want("aaaaa.0.1", f"echo $$ > {pids}; setsid sh -c 'echo $$ >> {pids}; trap : TERM; while :; do sleep 0.1; done' & wait")
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2, "both processes")
    plane.stop("aaaaa.0.1", grace_seconds=0.3)
    assert plane.ended("aaaaa.0.1")["reason"] == "cancelled_by_user"
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


def test_without_control_groups_what_a_killed_shim_leaves_is_found(plane: ControlPlane, plain: AgentProcess, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    plane.want("aaaaa.0.1", f"echo $$ > {pids}; setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' & exec sleep 1000")
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2, "both processes")
    os.kill(plain.shim("aaaaa.0.1"), signal.SIGKILL)
    assert plane.ended("aaaaa.0.1")["reason"] == "task_lost"
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


def test_a_task_gets_the_cpu_time_it_asked_for_and_no_more(plane: ControlPlane, agent: AgentProcess) -> None:
    if "as time" not in wait_for(lambda: plane.nodes, "the node's report")[0]["detail"]["limits"]["cpu"]:
        pytest.skip("no control group is writable here")
    plane.want("aaaaa.0.1", "timeout 1 sh -c 'while :; do :; done'; true", amounts={"cpu": 200, "memory": 64 * 1024**2})
    began = time.monotonic()
    task = plane.ended("aaaaa.0.1")
    assert task["usage"]["cpu_seconds"] < 0.2 * (time.monotonic() - began) + 0.2


def test_files_larger_than_the_disk_asked_for_are_cut(plane: ControlPlane, agent: AgentProcess) -> None:
    amounts = {"cpu": 1000, "memory": 64 * 1024**2, "disk": 1024**2}
    plane.want("aaaaa.0.1", "head -c 5000000 /dev/zero > big; echo $?; stat -c %s big", amounts=amounts)
    assert plane.ended("aaaaa.0.1")["exit_code"] == 0
    status, size = plane.output("aaaaa.0.1").split()
    assert status != b"0"
    assert int(size) == 1024**2


def test_shims_are_small(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "sleep 1000")
    plane.wait_state("aaaaa.0.1", "running")
    rollup = Path(f"/proc/{agent.shim('aaaaa.0.1')}/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
    assert private < 6 * 1024, f"{private} KiB of its own"
