"""What a pod's status says of its task: still to come, running, or how it ended, in our words.

Guarantees: pure; every end has one reason of `domain.lifecycle.Reason` and one sentence; an exit code of 0 is a success
only where the container itself ended with it. A pod on a node that cannot be reached has not ended: it may still run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bushel.agent import clock
from bushel.domain.failures import CHECKPOINTED_EXIT_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SETUP_FAILED_WORD = "bushel-setup-failed"
WORKDIR_FAILED_WORD = "bushel-workdir-failed"
"""What our own steps leave in the termination message."""

_IMAGE_FOR_GOOD = ("not found", "notfound", "manifest unknown", "denied", "unauthorized", "forbidden", "does not exist", "no such host")
_NO_IMAGE = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_UNUSABLE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NODE_WENT = frozenset({"NodeLost", "NodeShutdown", "Shutdown", "Terminated"})
_REFUSED = frozenset({"NodeAffinity", "NodeName", "UnexpectedAdmissionError", "AdmissionError", "InvalidNodeInfo", "PodOSNotSupported"})
_PREEMPTED = frozenset({"PreemptionByScheduler", "PreemptionByKubeScheduler", "TerminationByKubelet"})


@dataclass(frozen=True, slots=True)
class End:
    """`started_at` is None for a container that never ran."""

    reason: str | None
    message: str | None
    exit_code: int | None = None
    started_at: str | None = None
    ended_at: str = field(default_factory=clock.timestamp)

    def result(self, *, log_bytes: int, stop_reason: str | None = None) -> dict[str, Any]:
        """As the agent's core takes it. A stop explains an end that it brought about."""
        reason = self.reason
        if stop_reason is not None and reason in (None, "exit_code", "task_lost"):
            reason = stop_reason
        return {
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "exit_code": self.exit_code,
            "signal": None,
            "reason": None if reason == "exit_code" else reason,
            "message": None if reason != self.reason else self.message,
            "usage": {},
            "progress": None,
            "log_bytes": log_bytes,
        }


def running_since(pod: Mapping[str, Any]) -> str | None:
    """When its container started, while it runs."""
    return _container(pod).get("state", {}).get("running", {}).get("startedAt")


def cannot_start(pod: Mapping[str, Any]) -> End | None:
    """Why its container waits and always will, if that is so."""
    waiting = _container(pod).get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    image = pod["spec"]["containers"][0]["image"]
    if reason in _NO_IMAGE or (reason in _PULLING and any(word in message.lower() for word in _IMAGE_FOR_GOOD)):
        return End("start_failed", f"the image {image} cannot be had: {_sentence(message or reason)}")
    if reason in _UNUSABLE:
        return End("start_failed", f"its container cannot be made: {_sentence(message or reason)}")
    return None


def end_of(pod: Mapping[str, Any], *, node_is_gone: bool) -> End | None:
    """How its task ended; None if it has not."""
    metadata, status = pod["metadata"], pod.get("status", {})
    node = pod["spec"].get("nodeName", "")
    state = _container(pod).get("state", {}).get("terminated")
    if state is not None and not _evicted(status):
        return _of_container(state, status, node, deleted="deletionTimestamp" in metadata)
    if status.get("phase") in ("Succeeded", "Failed"):
        return _of_pod(pod, status, node, state, node_is_gone=node_is_gone)
    if node and node_is_gone:
        return End("node_lost", f"the node {node} was taken out of the cluster", started_at=running_since(pod))
    if not node and metadata.get("deletionTimestamp"):
        return End("task_lost", "its pod was deleted before it was bound")
    return None


def taken_away(pod: Mapping[str, Any]) -> End:
    """The pod is gone, though we kept a hold on it."""
    return End("task_lost", "its pod was taken away by somebody else", started_at=running_since(pod))


def _of_container(state: Mapping[str, Any], status: Mapping[str, Any], node: str, *, deleted: bool) -> End:
    code, why, told = state.get("exitCode"), state.get("reason", ""), state.get("message", "")
    times = {"started_at": _time(state.get("startedAt")), "ended_at": _time(state.get("finishedAt")) or clock.timestamp()}
    if why == "OOMKilled":
        return End("out_of_memory", "it used more memory than it asked for, and was killed", code, **times)
    if status.get("reason") == "DeadlineExceeded":
        return End("time_limit", "it ran longer than its time limit", code, **times)
    if why in ("StartError", "ContainerCannotRun"):
        return End("start_failed", f"its program cannot be started: {_sentence(told or why)}", None, None, times["ended_at"])
    if told.strip() == SETUP_FAILED_WORD:
        return End("setup_failed", f"its setup ended with exit code {code}", code, **times)
    if told.strip() == WORKDIR_FAILED_WORD:
        return End("workdir_failed", "its working folder could not be unpacked", code, **times)
    if code and (lost := _disruption(status, node)):
        return End(*lost, code, **times)
    if deleted and code not in (0, CHECKPOINTED_EXIT_CODE):
        return End("task_lost", "its pod was deleted by somebody else", code, **times)
    return End("exit_code", None if code == 0 else f"exit code {code}", code, **times)


def _of_pod(pod: Mapping[str, Any], status: Mapping[str, Any], node: str, state: Any, *, node_is_gone: bool) -> End:
    """A pod that ended as a whole: its container's own end, if it has one, is only what followed."""
    why, told = status.get("reason", ""), _sentence(status.get("message", ""))
    started, code = _time((state or {}).get("startedAt")) or running_since(pod), (state or {}).get("exitCode")
    if why == "DeadlineExceeded":
        return End("time_limit", "it ran longer than its time limit", code, started)
    if why in _REFUSED or why.startswith("OutOf"):
        return End("placement_rejected", f"the node {node} did not take it: {told or why}")
    if node_is_gone or why in _NODE_WENT:
        return End("node_lost", f"the node {node} went away{': ' + told if told else ''}", code, started)
    if _evicted(status):
        return End(_eviction(told.lower()), f"evicted from {node}: {told}", code, started)
    if lost := _disruption(status, node):
        return End(*lost, code, started)
    if pod["metadata"].get("deletionTimestamp"):
        return End("task_lost", "its pod was deleted by somebody else", code, started)
    return End("task_lost", told or f"the node {node} says that it ended, and not how", code, started)


def _disruption(status: Mapping[str, Any], node: str) -> tuple[str, str] | None:
    """Whether the cluster itself took it off its node."""
    for condition in status.get("conditions", ()):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            why, told = condition.get("reason", ""), _sentence(condition.get("message", ""))
            if why in _PREEMPTED:
                return "preempted", f"something more important took its place on {node}{': ' + told if told else ''}"
            if why == "DeletionByPodGC":
                return "node_lost", f"the node {node} went away"
            return "task_lost", f"it was evicted from {node}{': ' + told if told else ''}"
    return None


def _eviction(told: str) -> str:
    if "exceed" in told and "limit" in told:
        return "signalled"  # by its own doing: the same again would end the same
    return "disk_full" if "storage" in told else "task_lost"


def _evicted(status: Mapping[str, Any]) -> bool:
    return status.get("reason") == "Evicted"


def _container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return statuses[0]


def _sentence(text: str) -> str:
    return " ".join(text.split())[:500]


def _time(text: str | None) -> str | None:
    """Kubernetes says whole seconds; nothing at all is the year one."""
    return None if not text or text.startswith("0001") else text
