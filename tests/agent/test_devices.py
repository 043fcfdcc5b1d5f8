"""A task sees the accelerators that its placement names, and no others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.agent.conftest import AgentProcess, ControlPlane

SHOW = "echo $CUDA_VISIBLE_DEVICES"
CAPACITY = {"cpu": 64000, "memory": 64 * 1024**3, "gpu/H100": 4000}
ONE, HALF = ({"cpu": 1000, "memory": 512 * 1024**2, "gpu/H100": milli} for milli in (1000, 500))


@pytest.fixture
def agent(new_agent: Callable[..., AgentProcess]) -> AgentProcess:
    """One with four accelerators."""
    devices = {"H100": [f"GPU-{letter}" for letter in "abcd"]}
    return new_agent(nodes=[{"name": "n1", "capacity": CAPACITY, "devices": devices}]).start().wait_registered()


def test_each_rank_sees_the_devices_that_its_placement_names(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", SHOW, tasks=2, amounts={**ONE, "gpu/H100": 2000}, devices=[[3, 0], [2, 1]])
    plane.want("bbbbb.0.1", SHOW, amounts=HALF, devices=[[3]])
    assert [plane.output("aaaaa.0.1", rank) for rank in (0, 1)] == [b"GPU-d,GPU-a\n", b"GPU-c,GPU-b\n"]
    assert plane.output("bbbbb.0.1") == b"GPU-d\n"


def test_without_named_devices_each_whole_one_goes_to_one_task(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", f"{SHOW}; sleep 1000", amounts=ONE, devices=[[1]])
    plane.wait_state("aaaaa.0.1", "running")
    plane.want("bbbbb.0.1", SHOW, tasks=3, amounts=ONE)
    assert sorted(plane.output("bbbbb.0.1", rank) for rank in range(3)) == [b"GPU-a\n", b"GPU-c\n", b"GPU-d\n"]


def test_a_task_that_asked_for_none_sees_none(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", f"[ -z ${{CUDA_VISIBLE_DEVICES-all}} ] && {SHOW}")
    assert plane.output("aaaaa.0.1") == b"\n"


def test_a_device_that_the_node_does_not_have_fails_the_start(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", SHOW, tasks=2, amounts=ONE, devices=[[0], [4]])
    tasks = plane.wait_state("aaaaa.0.1", "ended")["tasks"]
    assert [task["reason"] for task in tasks] == ["start_failed", "start_failed"]
    assert "n1 has 4 of gpu/H100, and no number 4" in tasks[0]["message"]
    plane.want("bbbbb.0.1", SHOW, tasks=4, amounts=ONE)
    assert sorted(plane.output("bbbbb.0.1", rank)[4:5] for rank in range(4)) == [b"a", b"b", b"c", b"d"]
