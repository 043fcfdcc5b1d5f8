"""The same jobs as on one machine, from `bushel submit` to a pod of a real API server and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import wait_for
from tests.kubernetes.conftest import FAKES, IMAGE
from tests.kubernetes.control_plane import ControlPlane
from tests.running_bushel import RunningBushel
from tests.running_bushel import running as running

_NODES = ("k1-a", "k1-b", "k1-c")
_ON_IT = ("--cluster", "k1", "--image", IMAGE)


@pytest.fixture(scope="module")
def joined(running: RunningBushel, kubernetes: ControlPlane, node: str) -> Iterator[RunningBushel]:
    """A platform that a cluster has joined, with three small nodes besides the common one."""
    annotations = [word for key in FAKES for word in ("--pod-annotation", key)]
    with kubernetes.nodes(*_NODES, cpu="4", gpus=2):
        kubeconfig = str(kubernetes.kubeconfig)
        added = running.run("cluster", "add", "k1", "--site", "east", "--engine", "kubernetes", "--kubeconfig", kubeconfig, *annotations)
        assert added.code == 0, added.err
        yield running
        removed = running.run("cluster", "remove", "k1")
        assert removed.code == 0, removed.err
        kubernetes.take_away("k1")


def test_a_cluster_is_joined_with_its_nodes(joined: RunningBushel) -> None:
    """docs/guides/kubernetes.md#join-a-cluster"""
    nodes = {node["name"]: node["capacity"] for node in told(joined, "node", "ls")["items"] if node["cluster"] == "k1"}
    assert set(_NODES) <= set(nodes)
    assert (nodes["k1-a"]["cpu"], nodes["k1-a"]["gpu/gpu"]) == (4000, 2000)
    assert told(joined, "cluster", "get", "k1")["engine"] == "kubernetes"


def test_a_job_runs_and_its_output_comes_back(joined: RunningBushel) -> None:
    job = joined.submit(*_ON_IT, "--label", "fake-run-for=300ms", "--", "true")
    waited = joined.run("wait", job, "--timeout", "30s")
    assert waited.code == 0, waited.err
    assert "what a fake pod printed" in joined.run("logs", job).out


def test_an_array_runs_all_of_its_elements(joined: RunningBushel, kubernetes: ControlPlane) -> None:
    job = joined.submit(*_ON_IT, "--array", "0-19", "--label", "fake-run-for=300ms", "--", "true")
    assert joined.run("wait", job, "--timeout", "50s").code == 0
    wait_for(lambda: not [pod for pod in kubernetes.pods() if job in pod["metadata"]["name"]], "the pods to go")


def test_a_gang_runs_together_and_on_several_nodes(joined: RunningBushel, kubernetes: ControlPlane) -> None:
    job = joined.submit(*_ON_IT, "--nodes", "4", "--cpu", "3", "--", "true")
    wait_for(lambda: told(joined, "get", job)["status"]["state"] == "running", "the gang to run")
    nodes = [pod["spec"]["nodeName"] for pod in kubernetes.pods(f"{job}.0.1")]
    assert len(nodes) == 4
    assert len(set(nodes)) >= 3, "no node has room for more than two of them"
    assert joined.run("cancel", job).code == 0
    assert joined.run("wait", job, "--timeout", "30s").code == 103


def test_a_failure_keeps_its_exit_code(joined: RunningBushel) -> None:
    job = joined.submit(*_ON_IT, "--label", "fake-run-for=100ms", "--label", "fake-exit-code=3", "--", "false")
    assert joined.run("wait", job, "--timeout", "30s").code == 100
    failed = told(joined, "get", job)["status"]
    assert (failed["state"], failed["reason"], failed["exit_code"]) == ("failed", "exit_code", 3)


def test_a_job_whose_node_is_taken_out_runs_on_another(joined: RunningBushel, kubernetes: ControlPlane) -> None:
    with kubernetes.nodes("k1-d", cpu="32"):
        job = joined.submit(*_ON_IT, "--cpu", "16", "--", "true")
        wait_for(lambda: told(joined, "get", job)["status"]["state"] == "running", "the job to run on the one large node")
        with kubernetes.nodes("k1-e", cpu="32"):
            kubernetes.api.request("DELETE", "/api/v1/nodes/k1-d")
            moved = wait_for(lambda: kubernetes.pods(f"{job}.0.2"), "a second attempt", 40)
            assert moved[0]["spec"].get("nodeName") in ("k1-e", None)
            wait_for(lambda: told(joined, "get", job)["status"]["state"] == "running", "it to run again")
            assert "k1-d was taken out of the cluster" in joined.run("events", job).out + json.dumps(told(joined, "get", job))
            joined.run("cancel", job)
            assert joined.run("wait", job, "--timeout", "30s").code == 103


def told(bushel: RunningBushel, *words: str) -> Any:
    """What a command says, as JSON."""
    ran = bushel.run(*words, "-o", "json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_a_cluster_that_cannot_be_reached_is_not_joined(running: RunningBushel, tmp_path: Path) -> None:
    refused = running.run("cluster", "add", "k2", "--site", "east", "--engine", "kubernetes", "--kubeconfig", str(tmp_path / "none"))
    assert refused.code == 2
    assert "No such file" in refused.err
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    config = {"clusters": [cluster], "users": [{"name": "u", "user": {}}], "current-context": "c"}
    config["contexts"] = [{"name": "c", "context": {"cluster": "c", "user": "u"}}]
    (tmp_path / "config").write_text(json.dumps(config))
    refused = running.run("cluster", "add", "k2", "--site", "east", "--engine", "kubernetes", "--kubeconfig", str(tmp_path / "config"))
    assert refused.code == 3
    assert "does not answer" in refused.err
    assert "k2" not in [cluster["name"] for cluster in told(running, "cluster", "ls")["items"]]


def test_a_job_without_an_image_does_not_go_there(joined: RunningBushel) -> None:
    job = joined.submit("--cluster", "k1", "--", "true")
    assert wait_for(lambda: "names no image" in joined.run("explain", job).out, "the reason to be told")
    joined.run("cancel", job)
