"""What the guide says that an agent may do is all that it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.conftest import ControlPlane as Plane
from tests.agent.conftest import wait_for
from tests.kubernetes.conftest import ClusterAgent, fake
from tests.kubernetes.control_plane import ControlPlane

_GUIDE = Path(__file__).parents[2] / "docs/guides/kubernetes.md"
_ROW = re.compile(r"^\| ([a-z/, ]+?)(?:, in `bushel-system`)? \| ((?:list|watch|get|create|update|patch|delete)[a-z, ]*) \|$", re.MULTILINE)


@pytest.fixture
def least_rights(kubernetes: ControlPlane) -> Path:
    """A kubeconfig with the rights of the guide's table, and no others."""
    rules = [
        {"apiGroups": [""], "resources": resources.split(", "), "verbs": verbs.split(", ")}
        for resources, verbs in _ROW.findall(_GUIDE.read_text())
    ]
    assert len(rules) >= 6, "the table is not where it was"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "agent"}, "rules": rules}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "agent"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "agent"},
        "subjects": [{"kind": "User", "name": "least-agent", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    kubernetes.api.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    kubernetes.api.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    return kubernetes.user("least-agent")


def test_an_agent_gets_by_with_the_rights_of_the_guide(
    plane: Plane, node: str, new_agent: Callable[..., ClusterAgent], kubernetes: ControlPlane, least_rights: Path
) -> None:
    """docs/guides/kubernetes.md#join-a-cluster"""
    agent = new_agent()
    config = json.loads((agent.folder / "agent.json").read_text())
    config["kubernetes"]["kubeconfig"] = str(least_rights)
    (agent.folder / "agent.json").write_text(json.dumps(config))
    agent.start().wait_registered()
    plane.want("aaaaa.0.1", "true", labels=fake("200ms"), secrets={"TOKEN": "a-secret-value"})
    plane.want("aaaaa.1.1", "true", tasks=2)
    assert plane.ended("aaaaa.0.1")["exit_code"] == 0
    assert plane.output("aaaaa.0.1") == b"what a fake pod printed\n"
    plane.wait_state("aaaaa.1.1", "running")
    agent.kill()
    agent.start()
    plane.stop("aaaaa.1.1")
    assert plane.ended("aaaaa.1.1")["reason"] == "cancelled_by_user"
    wait_for(lambda: not [pod for id in ("aaaaa.0.1", "aaaaa.1.1") for pod in kubernetes.pods(id)], "the pods to go")
    assert "forbidden" not in agent.log.read_text()
