"""One Kubernetes for the run of the tests, and agents that speak for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import AgentProcess, wait_for
from tests.agent.conftest import ControlPlane as Plane
from tests.kubernetes.control_plane import ControlPlane, tools

IMAGE = "example.invalid/task:1"
FAKES = ("fake-run-for", "fake-exit-code", "fake-reason", "fake-waiting", "fake-refused")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[ControlPlane]:
    """Up when a test first asks, ended after the last."""
    with tempfile.TemporaryDirectory(prefix="bushel-kubernetes-", ignore_cleanup_errors=True) as folder:
        control_plane = ControlPlane(Path(folder) / "cluster", tools())
        try:
            yield control_plane.start()
        finally:
            control_plane.stop()


@pytest.fixture
def plane() -> Iterator[Plane]:
    """The scripted control plane of Bushel; what it wants has an image."""
    scripted = Plane()
    scripted.spec = {"image": IMAGE}
    yield scripted
    scripted.close()


class ClusterAgent(AgentProcess):
    """An agent of a Kubernetes cluster. Its folder can be taken away: it comes back by what the cluster knows."""

    def __init__(self, plane: Plane, folder: Path, kubernetes: ControlPlane, cluster: str) -> None:
        settings = {"kubeconfig": str(kubernetes.kubeconfig), "annotations": FAKES, "agent_namespace": f"agent-{cluster}"}
        super().__init__(plane, folder, cluster=cluster, engine="kubernetes", kubernetes=settings)

    def wait_registered(self) -> ClusterAgent:
        wait_for(lambda: self.plane.nodes and (self.state / "lease.json").exists(), "the agent's lease and its nodes")
        return self

    def end(self) -> None:
        self.kill()


@pytest.fixture
def new_agent(
    plane: Plane, kubernetes: ControlPlane, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., ClusterAgent]]:
    """Makes agents of one cluster of this test's own, not yet started. What they ran is taken away afterwards."""
    cluster = f"c{abs(hash(request.node.nodeid)) % 10**8}"
    agents: list[ClusterAgent] = []

    def make(name: str = "agent") -> ClusterAgent:
        agents.append(ClusterAgent(plane, tmp_path / name, kubernetes, cluster))
        return agents[-1]

    yield make
    for agent in agents:
        agent.end()
    kubernetes.take_away(cluster)


@pytest.fixture(scope="session")
def node(kubernetes: ControlPlane) -> Iterator[str]:
    """One node for all tests, with 8 cpu, 32 GiB and 8 GPUs."""
    with kubernetes.nodes("n1", gpus=8):
        yield "n1"


@pytest.fixture
def agent(node: str, new_agent: Callable[..., ClusterAgent]) -> ClusterAgent:
    """One agent, running."""
    return new_agent().start().wait_registered()  # type: ignore[return-value]


def fake(run_for: str = "", **fakes: Any) -> dict[str, str]:
    """Labels of a job that say what its pod is to do."""
    return {
        **({"fake-run-for": run_for} if run_for else {}),
        **{f"fake-{name.replace('_', '-')}": str(value) for name, value in fakes.items()},
    }
