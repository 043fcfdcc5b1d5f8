"""The nodes of a cluster as they can be used: what is allocatable, less everything that others run there.

Guarantees: pure bookkeeping over what the watches tell, in any order. A node that takes nothing new (unschedulable, a taint that
we do not tolerate, its limit of pods reached) keeps the capacity that our own pods hold and no more, so there is nothing left
to place on; one that is not ready, or gone, is lost. `news` names each node once after it has changed.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass

from bushel.agent.executors.kubernetes.amounts import ours, requested
from bushel.agent.executors.kubernetes.labels import is_ours
from bushel.agent.inventory import short_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from bushel.spec.agent import NodeReport

MODEL_LABEL = "nvidia.com/gpu.product"
_ENDED = ("Succeeded", "Failed")
_DISK_SIGNIFICANT_BYTES = 2**30
"""Free disk moves all the time; what moves it by less is not worth telling."""


@dataclass(frozen=True, slots=True)
class _Use:
    """What one pod takes."""

    node: str
    amounts: Counter[str]
    ours: bool


class Fleet:
    """`levels` maps topology levels to the labels that name their places, outermost first."""

    def __init__(self, cluster: str, levels: Mapping[str, str], labels: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._levels = levels
        self._extra_labels = labels
        self._lock = threading.Lock()
        self._nodes: dict[str, dict[str, Any]] = {}
        self._uses: dict[str, _Use] = {}  # by the pod's uid
        self._used: dict[str, dict[bool, Counter[str]]] = defaultdict(lambda: {True: Counter(), False: Counter()})
        self._told: dict[str, NodeReport] = {}

    # What the watches tell -------------------------------------------------------------------------------------------

    def node_changed(self, node: Mapping[str, Any], gone: bool) -> None:
        name = node["metadata"]["name"]
        with self._lock:
            if gone:
                self._nodes.pop(name, None)
            else:
                self._nodes[name] = _slim(node)

    def pod_changed(self, pod: Mapping[str, Any], gone: bool) -> None:
        uid = pod["metadata"]["uid"]
        node = "" if gone else pod["spec"].get("nodeName", "")
        runs = node and pod.get("status", {}).get("phase") not in _ENDED
        with self._lock:
            before = self._uses.pop(uid, None)
            if before is not None:
                self._used[before.node][before.ours].subtract(before.amounts)
            if runs:
                use = self._uses[uid] = _Use(node, requested(pod), is_ours(pod, self._cluster))
                self._used[node][use.ours].update(use.amounts)

    # What follows ----------------------------------------------------------------------------------------------------

    def is_gone(self, node: str) -> bool:
        return node not in self._nodes

    def news(self) -> tuple[list[NodeReport], list[NodeReport]]:
        """All nodes as they are now, and those of them that differ from what was returned before, with those that have gone."""
        with self._lock:
            now = {name: self._report(name, node) for name, node in self._nodes.items()}
            changed = [report for name, report in now.items() if report != self._told.get(name)]
            for name, report in self._told.items():
                if name not in now:
                    changed.append({**report, "state": "lost"})
            self._told = now
            return list(now.values()), changed

    def refusal(self, wanted: Sequence[tuple[str, Mapping[str, int]]]) -> str | None:
        """Why these tasks, each with its node and amounts, do not all fit; None if they do."""
        together: dict[str, Counter[str]] = defaultdict(Counter)
        for node, amounts in wanted:
            together[node].update(_plain(amounts), pods=1)
        with self._lock:
            for node, needed in together.items():
                if node not in self._nodes:
                    return f"the node {node} is not in the cluster any more"
                if why := self._nodes[node]["closed"] or self._nodes[node]["unready"]:
                    return f"the node {node} takes nothing new: {why}"
                free = Counter(self._nodes[node]["allocatable"])
                for used in self._used[node].values():
                    free.subtract(used)
                for resource, amount in needed.items():
                    if amount > free[resource]:
                        left = _words(resource, free[resource])
                        return f"the node {node} filled up meanwhile: {_words(resource, amount)} needed, {left} free"
        return None

    def _report(self, name: str, node: dict[str, Any]) -> NodeReport:
        allocatable, used = node["allocatable"], self._used[name]
        full = used[True]["pods"] + used[False]["pods"] >= allocatable["pods"]
        why = node["unready"] or node["closed"] or ("its limit of pods is reached" if full else "")
        capacity: dict[str, int] = {}
        for resource in ("cpu", "memory", "disk", "gpu"):
            if resource in allocatable:
                amount = used[True][resource] if why else max(allocatable[resource] - used[False][resource], 0)
                capacity[f"gpu/{node['model']}" if resource == "gpu" else resource] = amount
        if "disk" in capacity:
            capacity["disk"] -= capacity["disk"] % _DISK_SIGNIFICANT_BYTES
        return {
            "name": name,
            "capacity": capacity,
            "labels": {**self._extra_labels, **node["labels"]},
            "topology": [(level, node["labels"][label]) for level, label in self._levels.items() if label in node["labels"]]
            + [("host", name)],
            "state": "lost" if node["unready"] else "ready",
            "detail": {**node["detail"], **({"takes_nothing": why} if why else {})},
        }


def _slim(node: Mapping[str, Any]) -> dict[str, Any]:
    """Of thousands of nodes only what is used."""
    metadata, spec, status = node["metadata"], node.get("spec", {}), node.get("status", {})
    labels = metadata.get("labels", {})
    info = status.get("nodeInfo", {})
    taint = next((taint for taint in spec.get("taints", ()) if taint["effect"] != "PreferNoSchedule" and not _of_condition(taint)), None)
    closed = "it is cordoned" if spec.get("unschedulable") else ""
    if taint is not None and not closed:
        closed = f"its taint {taint['key']}{'=' + taint['value'] if taint.get('value') else ''}:{taint['effect']}"
    ready = next((condition for condition in status.get("conditions", ()) if condition["type"] == "Ready"), {})
    return {
        "allocatable": ours(status.get("allocatable")),
        "labels": labels,
        "model": short_model(labels.get(MODEL_LABEL, "gpu").replace("-", " ")),
        "closed": closed,
        "unready": "" if ready.get("status") == "True" else f"it is not ready{': ' + ready['reason'] if ready.get('reason') else ''}",
        "detail": {
            "kubelet": info.get("kubeletVersion", ""),
            "kernel": info.get("kernelVersion", ""),
            "system": info.get("osImage", ""),
            "runtime": info.get("containerRuntimeVersion", ""),
        },
    }


def _of_condition(taint: Mapping[str, Any]) -> bool:
    """Those that only repeat the readiness, or the cordon."""
    return taint["key"] in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.kubernetes.io/unschedulable")


def _plain(amounts: Mapping[str, int]) -> dict[str, int]:
    """GPUs of any model are one resource to Kubernetes."""
    return {resource.partition("/")[0]: amount for resource, amount in amounts.items()}


def _words(resource: str, amount: int) -> str:
    if resource in ("memory", "disk"):
        return f"{amount / 2**30:.1f} GiB of {resource}"
    return f"{amount} pods" if resource == "pods" else f"{amount / 1000:g} {resource}"
