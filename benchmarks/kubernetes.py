"""How fast pods are placed on a real API server with fake nodes: `python -m benchmarks.kubernetes [--nodes N] [--pods N]`.

The same cluster, one after the other: a bare client that only creates and binds, over as many connections as the agent has; kube-scheduler
with the same pods; and Bushel, from `bushel submit` of one array to the last pod bound. Pods are small (0.1 CPU) and ask for nothing else;
they run until they are taken away. A pod counts when the API server has its node. Needs what `make kubernetes-tools` builds.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.installation import Installation, new_home
from benchmarks.report import Report, parse
from bushel.agent.executors.kubernetes.api import MERGE_PATCH, Api, ApiError
from bushel.agent.executors.kubernetes.executor import WORKERS
from bushel.agent.executors.kubernetes.watch import Watch, pages
from tests.kubernetes.control_plane import ControlPlane, tools

NAMESPACE = "bare"
CLUSTER = "bench"
IMAGE = "example.invalid/task:1"
TIMEOUT_SECONDS = 900.0
NODE_CPU = "8"


def in_parallel(work: Callable[[Any], object], items: list[Any]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, items))


class Bound:
    """Which pods have got a node, by the value of a label. A pod that goes stays counted."""

    def __init__(self, api: Api) -> None:
        self._pods: set[tuple[str, str]] = set()  # a label with its value, and a name
        self._changed = threading.Condition()
        self._watch = Watch(api, "/api/v1/pods", self._note)
        self._watch.start()
        if not self._watch.synced.wait(TIMEOUT_SECONDS):
            raise TimeoutError("the API server does not list its pods")

    def _note(self, pod: dict[str, Any], gone: bool) -> None:
        if not gone and pod["spec"].get("nodeName"):
            with self._changed:
                self._pods |= {(f"{key}={value}", pod["metadata"]["name"]) for key, value in pod["metadata"].get("labels", {}).items()}
                self._changed.notify_all()

    def wait_for(self, label: str, count: int) -> None:
        def found() -> int:
            return sum(one == label for one, _ in self._pods)

        with self._changed:
            if not self._changed.wait_for(lambda: found() >= count, TIMEOUT_SECONDS):
                raise TimeoutError(f"{found()} of {count} pods with {label} were bound after {TIMEOUT_SECONDS:g} s")


def plain_pod(name: str, scheduler: str) -> dict[str, Any]:
    amounts = {"cpu": "100m", "memory": "64Mi"}
    container = {"name": "task", "image": IMAGE, "command": ["true"], "resources": {"requests": amounts, "limits": amounts}}
    spec = {"schedulerName": scheduler, "restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"arm": scheduler}}, "spec": spec}


def bare_client(api: Api, bound: Bound, nodes: list[str], pods: int) -> float:
    """Seconds until all are bound: every pod created and bound by the same call of a pool."""

    def place(number: int) -> None:
        name = f"bare-{number}"
        api.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", plain_pod(name, "bare"))
        target = {"apiVersion": "v1", "kind": "Node", "name": nodes[number % len(nodes)]}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        api.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/binding", binding)

    began = time.monotonic()
    in_parallel(place, list(range(pods)))
    bound.wait_for("arm=bare", pods)
    return time.monotonic() - began


def kube_scheduler(api: Api, bound: Bound, pods: int) -> float:
    """Seconds until all are bound by the scheduler of the cluster, which runs already."""
    began = time.monotonic()
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    in_parallel(lambda number: api.request("POST", path, plain_pod(f"default-{number}", "default-scheduler")), list(range(pods)))
    bound.wait_for("arm=default-scheduler", pods)
    return time.monotonic() - began


def bushel(installation: Installation, bound: Bound, pods: int) -> float:
    """Seconds from the submission of an array to its last pod bound."""
    began = time.monotonic()
    words = ("--cluster", CLUSTER, "--image", IMAGE, "--cpu", "0.1", "--memory", "64MiB", "--array", f"0-{pods - 1}")
    installation.run("submit", *words, "--", "true")
    bound.wait_for(f"bushel.dev/cluster={CLUSTER}", pods)
    return time.monotonic() - began


def take_away(api: Api, selector: str) -> None:
    """All pods of an arm, and wait until they are gone."""

    def delete(path: str) -> None:
        with suppress(ApiError):
            api.request("DELETE", path, query={"gracePeriodSeconds": 0})
            api.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)

    deadline = time.monotonic() + TIMEOUT_SECONDS
    while paths := [
        f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        for page in pages(api, "/api/v1/pods", labelSelector=selector)
        for pod in page["items"]
    ]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"pods {selector} were still there after {TIMEOUT_SECONDS:g} s")
        in_parallel(delete, paths)


@contextmanager
def cluster(folder: Path, nodes: int) -> Iterator[tuple[ControlPlane, list[str]]]:
    control_plane = ControlPlane(folder / "cluster", tools())
    try:
        control_plane.start()
        names = [f"node-{number}" for number in range(nodes)]
        in_parallel(lambda name: control_plane.add_node(name, cpu=NODE_CPU, zone=f"zone-{int(name[5:]) % 10}"), names)
        control_plane.wait_until_ready(names)
        yield control_plane, names
    finally:
        control_plane.stop()


def agent_memory_bytes(home: Path) -> int:
    """Proportional set size of the agent that speaks for the cluster."""
    status = json.loads((home / "run" / "status.json").read_text())
    (pid,) = [part["pid"] for part in status["parts"] if CLUSTER in part["name"]]
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def measure(report: Report, *, nodes: int, pods: int) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="bench-kubernetes-", dir="/var/tmp") as made,
        cluster(Path(made), nodes) as (control_plane, names),
    ):
        api = control_plane.api
        report.say(f"{nodes} nodes are ready")
        api.request("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        bound = Bound(api)
        with new_home() as installation:
            installation.run("up", "--port", "0")
            try:
                join = (
                    "cluster",
                    "add",
                    CLUSTER,
                    "--site",
                    "east",
                    "--engine",
                    "kubernetes",
                    "--kubeconfig",
                    str(control_plane.kubeconfig),
                )
                installation.run(*join)
                bare = pods / bare_client(api, bound, names, pods)
                report.add("a bare client, created and bound", bare, "pods/s")
                take_away(api, "arm=bare")
                own = pods / bushel(installation, bound, pods)
                report.add("Bushel, submitted to bound", own, "pods/s", "bare client", bare)
                report.add("its agent's memory", agent_memory_bytes(installation.home) / 2**20, "MiB", "must stay under", 500)
            finally:
                installation.run("down", "--stop-tasks")
        take_away(api, f"bushel.dev/cluster={CLUSTER}")
        control_plane.start_scheduler()
        peer = pods / kube_scheduler(api, bound, pods)
        report.add("Bushel, submitted to bound", own, "pods/s", "kube-scheduler", peer)


if __name__ == "__main__":
    options = parse(__doc__ or "", nodes=1000, pods=3000)
    report = Report()
    measure(report, nodes=options.nodes, pods=options.pods)
    report.finish(options.json)
    sys.exit(0)
