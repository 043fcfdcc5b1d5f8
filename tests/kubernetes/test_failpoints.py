"""The agent is killed at every point between two of its effects, and comes back with nothing on disk: each task ran at most once."""

from __future__ import annotations

import re
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bushel.agent.executors.kubernetes
from bushel.agent.executors.kubernetes.watch import Watch
from tests.agent.conftest import ControlPlane as Plane
from tests.agent.conftest import wait_for
from tests.kubernetes.conftest import ClusterAgent, fake
from tests.kubernetes.control_plane import ControlPlane

_SOURCES = sorted(Path(bushel.agent.executors.kubernetes.__file__).parent.glob("*.py"))
POINTS = (
    "kubernetes.before_bind",
    "kubernetes.before_create",
    "kubernetes.before_delete",
    "kubernetes.before_ended",
    "kubernetes.before_remove",
)
_IDS = {"aaaaa.0.1": 1, "bbbbb.0.1": 2, "ccccc.0.1": 1}
"""Attempts and how many ranks each has."""


def test_no_point_is_left_out() -> None:
    assert tuple(sorted({name for path in _SOURCES for name in re.findall(r'\breach\("([^"]+)"\)', path.read_text())})) == POINTS


@pytest.fixture
def ran(kubernetes: ControlPlane) -> Iterator[dict[str, set[str]]]:
    """By the name of a pod, which pods of that name ever ran."""
    seen: dict[str, set[str]] = defaultdict(set)

    def look(pod: dict[str, Any], gone: bool) -> None:
        if not gone and pod["status"].get("phase") in ("Running", "Succeeded") and "labels" in pod["metadata"]:
            seen[pod["metadata"]["name"]].add(pod["metadata"]["uid"])

    watch = Watch(kubernetes.api, "/api/v1/pods", look)
    watch.start()
    assert watch.synced.wait(10)
    yield seen
    watch.stop()


def test_the_points_are_found() -> None:
    assert len(POINTS) >= 5


@pytest.mark.faults
@pytest.mark.parametrize("point", POINTS)
def test_killed_at(
    point: str, plane: Plane, node: str, new_agent: Callable[..., ClusterAgent], kubernetes: ControlPlane, ran: dict[str, set[str]]
) -> None:
    agent = new_agent()
    agent.start(failpoint=point).wait_registered()
    plane.want("aaaaa.0.1", "true", labels=fake("200ms"), secrets={"TOKEN": "a-secret-value"})
    plane.want("bbbbb.0.1", "true", tasks=2, labels=fake("200ms"))
    plane.want("ccccc.0.1", "true")
    process = agent.process
    assert process is not None
    wait_for(lambda: process.poll() is not None or plane.state("ccccc.0.1") == "running", "the agent to die or the tasks to run")
    plane.stop("ccccc.0.1", grace_seconds=1)
    assert wait_for(lambda: process.poll(), "the agent to come to the point") == -signal.SIGKILL
    shutil.rmtree(agent.state)
    agent.start()
    for id, ranks in _IDS.items():
        report = plane.wait_state(id, "ended")
        assert len(report["tasks"]) == ranks
        assert all(task["exit_code"] == 0 or id == "ccccc.0.1" for task in report["tasks"]), report
    assert all(len(uids) <= 1 for uids in ran.values()), f"these ran twice: {ran}"
    wait_for(lambda: not [pod for id in _IDS for pod in kubernetes.pods(id)], "no pod to be left of what is recorded")
    wait_for(lambda: not _left(kubernetes), "no secret or service to be left")


def _left(kubernetes: ControlPlane) -> list[str]:
    kinds = ("secrets", "services")
    return [
        item["metadata"]["name"]
        for kind in kinds
        for item in kubernetes.api.get(f"/api/v1/{kind}", labelSelector=f"bushel.dev/attempt in ({', '.join(_IDS)})")["items"]
    ]
