"""A task as the executor knows it: its pod as last seen, and what was asked of it.

Guarantees: what it stands for is there in the cluster; nothing here is needed to take a pod over.
"""

from __future__ import annotations

from bushel.agent.executors.kubernetes import labels
from bushel.agent.executors.local.folder import task_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bushel.agent.executors.kubernetes.endings import End


class PodTask:
    """A task that has not been removed. `pod` is as last seen; None until it was made."""

    __slots__ = ("bound_at", "end_stop", "ending", "key", "name", "namespace", "pod", "refused", "request", "running", "stop")

    def __init__(self, key: str, namespace: str, name: str) -> None:
        self.key = key
        self.namespace = namespace
        self.name = name
        self.request: dict[str, Any] | None = None
        self.pod: dict[str, Any] | None = None
        self.bound_at: float | None = None
        self.running = False
        self.stop: tuple[str, float] | None = None  # reason, grace
        self.end_stop = False  # `stopping` was told
        self.refused: End | None = None  # why it is stopped, where nobody asked for it
        self.ending = False  # its end is being told, or was

    def waits_since(self, moment: float) -> bool:
        """Whether it was bound by then, and neither runs nor was given up."""
        return self.bound_at is not None and self.bound_at < moment and not (self.running or self.ending or self.refused)

    @property
    def path(self) -> str:
        return pod_path(self.namespace, self.name)


def key_of(pod: dict[str, Any]) -> str:
    metadata = pod["metadata"]
    return task_key(metadata["labels"][labels.ATTEMPT], int(metadata["labels"][labels.RANK]))


def pod_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"
