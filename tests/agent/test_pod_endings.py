"""docs/guides/kubernetes.md#what-is-told-of-a-failure: what a pod's status says, in our words."""

from __future__ import annotations

from typing import Any

import pytest

from bushel.agent.executors.kubernetes.endings import cannot_start, end_of
from bushel.domain.failures import ENDINGS
from bushel.domain.lifecycle import Reason


def pod(*, deleted: bool = False, phase: str = "Failed", state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    metadata = {"name": "p", **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})}
    statuses = [{"state": state}] if state else []
    return {
        "metadata": metadata,
        "spec": {"nodeName": "n1", "containers": [{"image": "example.invalid/task:1"}]},
        "status": {"phase": phase, "containerStatuses": statuses, **status},
    }


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    times = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"}
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}


def disrupted(reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "why"}]}


@pytest.mark.parametrize(
    ("what", "reason", "words"),
    [
        (pod(state=ended(3)), "exit_code", "exit code 3"),
        (pod(state=ended(137, "OOMKilled")), "out_of_memory", "more memory"),
        (pod(state=ended(128, "StartError", "exec: no such file")), "start_failed", "no such file"),
        (pod(state=ended(2, message="bushel-setup-failed")), "setup_failed", "its setup ended with exit code 2"),
        (pod(state=ended(1, message="bushel-workdir-failed")), "workdir_failed", "unpacked"),
        (pod(state=ended(143), reason="DeadlineExceeded"), "time_limit", "time limit"),
        (pod(reason="DeadlineExceeded"), "time_limit", "time limit"),
        (pod(reason="OutOfcpu", message="Node didn't have enough"), "placement_rejected", "the node n1 did not take it"),
        (pod(reason="NodeAffinity"), "placement_rejected", "the node n1 did not take it"),
        (pod(reason="NodeShutdown", message="Node is shutting down"), "node_lost", "the node n1 went away"),
        (pod(reason="Evicted", message="The node was low on resource: memory."), "task_lost", "low on resource: memory"),
        (pod(reason="Evicted", message="The node was low on resource: ephemeral-storage."), "disk_full", "ephemeral-storage"),
        (pod(reason="Evicted", message="Container task exceeded its local ephemeral storage limit"), "signalled", "exceeded its"),
        (pod(state=ended(143), **disrupted("EvictionByEvictionAPI")), "task_lost", "it was evicted from n1: why"),
        (pod(state=ended(143), **disrupted("PreemptionByScheduler")), "preempted", "something more important"),
        (pod(**disrupted("DeletionByPodGC")), "node_lost", "the node n1 went away"),
        (pod(deleted=True, state=ended(143)), "task_lost", "deleted by somebody else"),
        (pod(deleted=True), "task_lost", "deleted by somebody else"),
    ],
)
def test_an_end_has_a_reason_and_a_sentence(what: dict[str, Any], reason: str, words: str) -> None:
    end = end_of(what, node_is_gone=False)
    assert end is not None
    assert end.reason == reason
    assert words in (end.message or "")
    assert Reason(reason) in ENDINGS


def test_success_takes_an_exit_code_of_0() -> None:
    done = end_of(pod(phase="Succeeded", state=ended(0, "Completed")), node_is_gone=False)
    assert done is not None
    assert (done.exit_code, done.message) == (0, None)
    silent = end_of(pod(phase="Succeeded"), node_is_gone=False)
    assert silent is not None
    assert silent.reason == "task_lost", "a pod that only says that it succeeded proves nothing"


def test_a_checkpoint_stays_one_when_its_pod_was_deleted() -> None:
    end = end_of(pod(deleted=True, state=ended(75)), node_is_gone=False)
    assert end is not None
    assert (end.reason, end.exit_code) == ("exit_code", 75)


def test_a_node_that_cannot_be_reached_ends_nothing() -> None:
    """docs/guides/kubernetes.md#why-nothing-runs-twice"""
    running = pod(phase="Running", deleted=True, state={"running": {"startedAt": "2026-01-01T00:00:00Z"}})
    assert end_of(running, node_is_gone=False) is None
    gone = end_of(running, node_is_gone=True)
    assert gone is not None
    assert gone.reason == "node_lost"


@pytest.mark.parametrize(
    ("reason", "message", "hopeless"),
    [
        ("ErrImagePull", "manifest unknown", True),
        ("ImagePullBackOff", "pull access denied", True),
        ("InvalidImageName", "", True),
        ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root", True),
        ("ErrImagePull", "i/o timeout", False),
        ("ContainerCreating", "", False),
    ],
)
def test_what_can_never_start_is_known_from_what_may(reason: str, message: str, hopeless: bool) -> None:
    waiting = pod(phase="Pending", state={"waiting": {"reason": reason, "message": message}})
    end = cannot_start(waiting)
    assert (end is not None) is hopeless
    assert end is None or end.reason == "start_failed"


def test_a_stop_explains_what_it_brought_about_and_nothing_else() -> None:
    stopped = end_of(pod(deleted=True, state=ended(143)), node_is_gone=False)
    assert stopped is not None
    assert stopped.result(log_bytes=0, stop_reason="preempted")["reason"] == "preempted"
    starved = end_of(pod(deleted=True, state=ended(137, "OOMKilled")), node_is_gone=False)
    assert starved is not None
    assert starved.result(log_bytes=0, stop_reason="preempted")["reason"] == "out_of_memory"
