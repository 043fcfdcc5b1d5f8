"""An agent of a real API server: what the control plane wants becomes pods, and what becomes of those is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bushel.agent.executors.kubernetes.api import MERGE_PATCH
from tests.agent.conftest import ControlPlane as Plane
from tests.agent.conftest import wait_for
from tests.kubernetes.conftest import ClusterAgent, fake
from tests.kubernetes.control_plane import ControlPlane

_SMALL = {"cpu": 1000, "memory": 2**30}


def test_a_task_runs_as_a_pod_on_the_node_of_the_plan(plane: Plane, agent: ClusterAgent, kubernetes: ControlPlane) -> None:
    """docs/guides/kubernetes.md"""
    plane.want("aaaaa.0.1", "true", labels=fake("300ms"))
    task = plane.ended("aaaaa.0.1")
    assert (task["exit_code"], task["reason"]) == (0, None)
    assert plane.history["aaaaa.0.1"][-2:] == ["running", "ended"]
    assert plane.output("aaaaa.0.1") == b"what a fake pod printed\n"
    wait_for(lambda: not kubernetes.pods("aaaaa.0.1"), "the pod to go once its end is recorded")


def test_pods_are_restricted_and_ours_to_bind(plane: Plane, agent: ClusterAgent, kubernetes: ControlPlane) -> None:
    plane.want("bbbbb.0.1", "true", secrets={"TOKEN": "s3cret-value"})
    plane.wait_state("bbbbb.0.1", "running")
    (pod,) = kubernetes.pods("bbbbb.0.1")
    assert (pod["spec"]["schedulerName"], pod["spec"]["nodeName"]) == ("bushel", "n1")
    assert not pod["spec"]["automountServiceAccountToken"]
    assert "s3cret-value" not in str(pod)
    namespace = pod["metadata"]["namespace"]
    level = kubernetes.api.get(f"/api/v1/namespaces/{namespace}")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == "restricted"
    plane.stop("bbbbb.0.1")
    plane.ended("bbbbb.0.1")
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    wait_for(lambda: not kubernetes.api.get(secrets)["items"], "the secret to go with its attempt")


@pytest.mark.parametrize(
    ("labels", "code", "reason", "words"),
    [
        (fake("100ms", exit_code=3), 3, None, "exit code 3"),
        (fake("100ms", exit_code=137, reason="OOMKilled"), 137, "out_of_memory", "more memory than it asked for"),
        (fake(waiting="ErrImagePull"), None, "start_failed", "the image example.invalid/task:1 cannot be had"),
        (fake(refused="OutOfcpu"), None, "placement_rejected", "the node n1 did not take it"),
    ],
)
def test_an_end_has_its_reason(
    plane: Plane, agent: ClusterAgent, labels: dict[str, str], code: int | None, reason: str | None, words: str
) -> None:
    plane.want("ccccc.0.1", "true", labels=labels)
    task = plane.ended("ccccc.0.1")
    assert (task["exit_code"], task["reason"]) == (code, reason)
    assert words in task["message"]


def test_a_task_is_stopped_with_its_reason(plane: Plane, agent: ClusterAgent) -> None:
    plane.want("ddddd.0.1", "true")
    plane.wait_state("ddddd.0.1", "running")
    plane.stop("ddddd.0.1", grace_seconds=3)
    task = plane.ended("ddddd.0.1")
    assert (task["exit_code"], task["reason"]) == (143, "cancelled_by_user")


def test_a_gang_runs_on_its_nodes_and_finds_itself(
    plane: Plane, node: str, new_agent: Callable[..., ClusterAgent], kubernetes: ControlPlane
) -> None:
    with kubernetes.nodes("n2"):
        new_agent().start().wait_registered()
        plane.want("eeeee.0.1", "true", tasks=4, placement=_placement(n1=(0, 2), n2=(2, 4)), labels=fake("500ms"))
        plane.wait_state("eeeee.0.1", "running")
        pods = sorted(kubernetes.pods("eeeee.0.1"), key=lambda pod: pod["metadata"]["labels"]["bushel.dev/rank"])
        assert [pod["spec"]["nodeName"] for pod in pods] == ["n1", "n1", "n2", "n2"]
        told = {variable["name"]: variable.get("value") for variable in pods[3]["spec"]["containers"][0]["env"]}
        assert told["BUSHEL_HOSTS"].split(",")[3] == f"{pods[3]['spec']['hostname']}.{pods[3]['spec']['subdomain']}"
        report = plane.wait_state("eeeee.0.1", "ended")
        assert [task["exit_code"] for task in report["tasks"]] == [0, 0, 0, 0]


def test_a_gang_that_does_not_fit_starts_nothing(plane: Plane, agent: ClusterAgent, kubernetes: ControlPlane) -> None:
    """A foreign pod took the room after the plan was made."""
    plane.want("fffff.0.1", "true", tasks=2, placement=_placement(n1=(0, 1), gone=(1, 2)))
    report = plane.wait_state("fffff.0.1", "ended")
    assert {task["reason"] for task in report["tasks"]} == {"placement_rejected"}
    assert "the node gone is not in the cluster any more" in report["tasks"][0]["message"]
    with foreign(kubernetes, "squatter", cpu="6"):
        wait_for(lambda: any(node["capacity"]["cpu"] == 2000 for node in plane.nodes), "the room that is left to be told")
        plane.want("fffff.1.1", "true", placement=_placement(n1=(0, 3)), tasks=3)
        report = plane.wait_state("fffff.1.1", "ended")
    assert {task["reason"] for task in report["tasks"]} == {"placement_rejected"}
    assert "filled up meanwhile: 3 cpu needed, 2 cpu free" in report["tasks"][0]["message"]
    assert not any(pod["spec"].get("nodeName") for id in ("fffff.0.1", "fffff.1.1") for pod in kubernetes.pods(id))


def test_a_node_that_is_taken_out_loses_its_tasks(plane: Plane, agent: ClusterAgent, kubernetes: ControlPlane) -> None:
    with kubernetes.nodes("doomed"):
        wait_for(lambda: any(node["name"] == "doomed" and node["state"] == "ready" for node in plane.nodes), "the node to be told")
        plane.want("ggggg.0.1", "true", placement=_placement(doomed=(0, 1)))
        plane.wait_state("ggggg.0.1", "running")
    task = plane.ended("ggggg.0.1")
    assert task["reason"] == "node_lost"
    assert "doomed was taken out of the cluster" in task["message"]


def test_an_agent_with_nothing_on_disk_takes_over(plane: Plane, agent: ClusterAgent, kubernetes: ControlPlane) -> None:
    plane.want("hhhhh.0.1", "true")
    plane.want("hhhhh.1.1", "true", labels=fake("1s", exit_code=4))
    plane.wait_state("hhhhh.0.1", "running")
    plane.wait_state("hhhhh.1.1", "running")
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in kubernetes.pods()}
    agent.kill()
    shutil.rmtree(agent.state)
    agent.start()
    assert plane.ended("hhhhh.1.1")["exit_code"] == 4, "what ended while nobody looked is told"
    pod = kubernetes.pods("hhhhh.0.1")[0]
    assert pod["metadata"]["uid"] == before[pod["metadata"]["name"]], "the same pod goes on"
    plane.stop("hhhhh.0.1")
    assert plane.ended("hhhhh.0.1")["reason"] == "cancelled_by_user"
    assert plane.epoch == 1


def test_what_nobody_wants_any_more_is_swept(plane: Plane, agent: ClusterAgent, kubernetes: ControlPlane) -> None:
    plane.want("iiiii.0.1", "true")
    plane.wait_state("iiiii.0.1", "running")
    agent.kill()
    plane.drop("iiiii.0.1")
    agent.start()
    wait_for(lambda: not kubernetes.pods("iiiii.0.1"), "the orphan to go")


def test_a_pod_that_somebody_deletes_is_lost_and_not_started_again(plane: Plane, agent: ClusterAgent, kubernetes: ControlPlane) -> None:
    plane.want("jjjjj.0.1", "true")
    plane.wait_state("jjjjj.0.1", "running")
    (pod,) = kubernetes.pods("jjjjj.0.1")
    kubernetes.api.request("DELETE", f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}")
    task = plane.ended("jjjjj.0.1")
    assert task["reason"] == "task_lost"
    assert "deleted by somebody else" in task["message"]


def _placement(**ranks: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"group": "main", "ranks": list(span), "node": node, "amounts": _SMALL} for node, span in ranks.items()]


@contextmanager
def foreign(kubernetes: ControlPlane, name: str, *, cpu: str) -> Iterator[None]:
    """A pod of somebody else's on n1."""
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": "n1", "containers": [container]}}
    kubernetes.api.request("POST", "/api/v1/namespaces/default/pods", document)
    yield
    kubernetes.api.request("DELETE", f"/api/v1/namespaces/default/pods/{name}", query={"gracePeriodSeconds": 0})


def test_a_node_that_takes_nothing_new_keeps_what_runs_there(plane: Plane, agent: ClusterAgent, kubernetes: ControlPlane) -> None:
    """docs/guides/kubernetes.md#what-else-runs-there"""
    plane.want("kkkkk.0.1", "true", amounts=_SMALL)
    plane.wait_state("kkkkk.0.1", "running")
    _cordon(kubernetes, cordoned=True)
    told = wait_for(lambda: next((node for node in plane.nodes if node["detail"].get("takes_nothing")), None), "the cordon to be told")
    assert (told["state"], told["detail"]["takes_nothing"], told["capacity"]["cpu"]) == ("ready", "it is cordoned", 1000)
    assert plane.state("kkkkk.0.1") == "running"
    _cordon(kubernetes, cordoned=False)
    wait_for(lambda: any(node["capacity"]["cpu"] == 8000 for node in plane.nodes), "the node to be open again")


def test_a_crash_of_the_api_server_loses_nothing(plane: Plane, agent: ClusterAgent, kubernetes: ControlPlane) -> None:
    plane.want("lllll.0.1", "true", labels=fake("1s", exit_code=5))
    plane.want("lllll.1.1", "true")
    plane.wait_state("lllll.1.1", "running")
    kubernetes.stop_server()
    plane.want("lllll.2.1", "true", labels=fake("200ms"))
    kubernetes.start_server()
    assert plane.ended("lllll.0.1")["exit_code"] == 5
    assert plane.ended("lllll.2.1")["exit_code"] == 0
    plane.stop("lllll.1.1")
    assert plane.ended("lllll.1.1")["reason"] == "cancelled_by_user"


def _cordon(kubernetes: ControlPlane, *, cordoned: bool) -> None:
    kubernetes.api.request("PATCH", "/api/v1/nodes/n1", {"spec": {"unschedulable": cordoned}}, content_type=MERGE_PATCH)
