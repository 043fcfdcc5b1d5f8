"""Tasks as pods, each bound by us to the node that the plan gave it.

Guarantees: a task runs at most once ever: its pod has a name of its own and a finalizer, so it is there, whoever deletes
it, until its end is recorded; a pod that is not bound never ran, and is taken away when the agent starts. The pods of an
attempt are bound only when all of them exist and fit; when one cannot be bound the others are stopped and the attempt
goes back as `placement_rejected`. A task's output is fetched before its end is told. Nothing is remembered that the
cluster does not say: `open` takes over by labels.

Events, each with the task's key: `started`, `running`, `stopping`, `ended`, as of the other executors; they come from
several threads, one at a time for a task, and never under the lock.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from bushel.agent.executors.kubernetes import labels
from bushel.agent.executors.kubernetes.api import Api, ApiError, Unreachable
from bushel.agent.executors.kubernetes.endings import End, cannot_start, end_of, running_since, taken_away
from bushel.agent.executors.kubernetes.objects import Objects
from bushel.agent.executors.kubernetes.output import fetch_output
from bushel.agent.executors.kubernetes.tasks import PodTask, key_of, pod_path
from bushel.agent.executors.kubernetes.watch import Watch, pages
from bushel.agent.executors.local.folder import parse_task_key, task_key
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from bushel.agent.executors.kubernetes.fleet import Fleet
    from bushel.agent.state import StateFolder

log = logging.getLogger(__name__)

WORKERS = 16
START_SECONDS = 600.0
"""How long a bound pod may take to run before its node is given up."""

_TICK_SECONDS = 1.0
_AGAIN_SECONDS = 5.0


class KubernetesExecutor:
    def __init__(
        self, api: Api, state: StateFolder, cluster: str, fleet: Fleet, on_event: Callable[[str, str, dict[str, Any] | None], None]
    ) -> None:
        self._api = api
        self._state = state
        self._cluster = cluster
        self._fleet = fleet
        self._on_event = on_event
        self._lock = threading.Lock()
        self._tasks: dict[str, PodTask] = {}
        self._launching: set[str] = set()  # attempts
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="kubernetes")
        self._closing = threading.Event()
        self._objects = Objects(api, self._closing)
        self.usage_changed: Callable[[], None] = lambda: None  # a pod came, went or ended
        self._ticker = threading.Thread(target=self._tick, name="kubernetes ticker", daemon=True)
        self.epoch: int | None = None  # the newest that a pod was found of
        self.watch = Watch(api, "/api/v1/pods", self._pod_changed)

    # For the agent ---------------------------------------------------------------------------------------------------

    def open(self) -> dict[str, tuple[dict[str, Any], dict[str, Any] | None]]:
        """Take over what runs or has ended, with the ends; take away what was never bound.

        Raises:
            ApiError, Unreachable: the cluster does not say.
        """
        found: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {}
        for page in pages(self._api, "/api/v1/pods", labelSelector=f"{labels.CLUSTER}={self._cluster}"):
            for pod in page["items"]:
                metadata = pod["metadata"]
                if not pod["spec"].get("nodeName"):
                    self._objects.let_go(pod_path(metadata["namespace"], metadata["name"]))
                    continue
                epoch, key = int(metadata["labels"][labels.EPOCH]), key_of(pod)
                self.epoch = max(self.epoch or 0, epoch)
                task = self._tasks[key] = PodTask(key, metadata["namespace"], metadata["name"])
                task.pod, task.bound_at = pod, time.monotonic()
                facts = json.loads(metadata["annotations"][labels.FACTS]) | {
                    "epoch": epoch,
                    "started_at": running_since(pod),
                    "pending": running_since(pod) is None,
                }
                found[key] = (facts, None)
        for task, result in self._pool.map(self._end_found, list(self._tasks.values())):
            found[task.key] = (found[task.key][0], result)
        self._sweep({parse_task_key(key)[0] for key in found})
        return found

    def _end_found(self, task: PodTask) -> tuple[PodTask, dict[str, Any] | None]:
        """How a task ended while no agent looked, if it did."""
        end = self._end_of(task.pod or {})
        if end is None:
            return task, None
        task.ending = True
        return task, self._result(task, end, task.pod)

    def listen(self) -> None:
        """Begin to give events."""
        self.watch.start()
        self._ticker.start()

    def start(self, request: dict[str, Any]) -> None:
        """Begin a task. Its attempt is launched with the last of its tasks."""
        attempt, _ = parse_task_key(request["key"])
        with self._lock:
            if request["key"] in self._tasks:
                return
            task = self._tasks[request["key"]] = PodTask(request["key"], request["namespace"], request["pod"]["metadata"]["name"])
            task.request = request
            if len(self._of_attempt(attempt)) < request["task_count"]:
                return
            self._launching.add(attempt)
        self._pool.submit(self._guarded, self._launch, attempt)

    def stop(self, key: str, reason: str, grace_seconds: float) -> None:
        """Ask a task to end. It may be asked again, to shorten the grace."""
        with self._lock:
            task = self._tasks.get(key)
            if task is None:
                return
            task.stop = (task.stop[0] if task.stop else reason, grace_seconds)
            if parse_task_key(key)[0] in self._launching:
                return  # the launch looks at it
        self._pool.submit(self._guarded, self._stop, task)

    def remove(self, keys: Sequence[str]) -> None:
        """Forget an attempt's tasks, whose ends are recorded, and take away what is left of them."""
        with self._lock:
            tasks = [task for key in keys if (task := self._tasks.pop(key, None)) is not None]
        self._pool.submit(self._guarded, self._remove, list(keys), tasks)

    def close(self) -> None:
        """Stop listening. Pods go on."""
        self._closing.set()
        self.watch.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # Launching -------------------------------------------------------------------------------------------------------

    def _launch(self, attempt: str) -> None:
        """Make the pods of an attempt that are missing, then bind them; or none."""
        with self._lock:
            tasks = self._of_attempt(attempt)
        new = [task for task in tasks if task.request is not None]
        refused: End | None = None
        try:
            refused = self._create(new)
            if refused is None and not any(task.stop for task in tasks):
                reach("kubernetes.before_bind")
                refused = self._bind(new)
        except (Unreachable, ApiError) as failure:
            refused = End("placement_rejected", str(failure))
        except Exception:
            log.exception("%s could not be started by a fault of ours", attempt)
            refused = End("task_lost", "its agent failed while it started it; see the agent's log")
        finally:
            with self._lock:
                self._launching.discard(attempt)
        for task in new:
            task.refused = task.refused or refused
        for task in new:
            if refused is not None or task.stop is not None:
                self._stop(task)

    def _create(self, tasks: list[PodTask]) -> End | None:
        """Why they cannot all be made; those that were are not bound."""
        requests = [task.request for task in tasks if task.request is not None]
        if refusal := self._fleet.refusal([(request["node"], request["amounts"]) for request in requests]):
            return End("placement_rejected", refusal)
        first, namespace = requests[0], tasks[0].namespace
        try:
            self._objects.ensure_namespace(namespace)
            for kind in ("secret", "service"):
                if first[kind] is not None:
                    self._objects.make(f"/api/v1/namespaces/{namespace}/{kind}s", first[kind])
            for task, request in zip(tasks, requests, strict=True):
                if task.stop is not None:
                    return None
                reach("kubernetes.before_create")
                self._objects.make_pod(namespace, request["pod"])
        except ApiError as error:
            quota = error.status == 403 and "exceeded quota" in str(error)
            return End("placement_rejected" if quota else "start_failed", f"the cluster refused it: {error}")
        return None

    def _bind(self, tasks: list[PodTask]) -> End | None:
        for task in tasks:
            assert task.request is not None  # noqa: S101 - new ones have one
            node = task.request["node"]
            target = {"apiVersion": "v1", "kind": "Node", "name": node}
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": task.name}, "target": target}
            task.bound_at = time.monotonic()
            try:
                self._api.request("POST", f"{task.path}/binding", body)
            except ApiError as error:
                if not (error.status == 409 and self._is_bound(task, node)):
                    return End("placement_rejected", f"it could not be bound to {node}: {error}")
        return None

    def _is_bound(self, task: PodTask, node: str) -> bool:
        """An earlier binding whose answer was lost."""
        return self._api.get(task.path)["spec"].get("nodeName") == node

    # Stopping and removing -------------------------------------------------------------------------------------------

    def _stop(self, task: PodTask) -> None:
        """Delete its pod with the grace it has. One that was never bound has ended with that."""
        if task.ending:
            return
        grace = 0.0 if task.refused is not None or task.stop is None else task.stop[1]
        reach("kubernetes.before_delete")
        try:
            pod = self._api.request("DELETE", task.path, query={"gracePeriodSeconds": max(int(grace), 0)})
        except ApiError as error:
            if error.status != 404:
                raise
            pod = None  # it was never made
        if pod is None or not pod.get("spec", {}).get("nodeName"):
            self._end(task, task.refused or End("task_lost", None), None)

    def _remove(self, keys: list[str], tasks: list[PodTask]) -> None:
        reach("kubernetes.before_remove")
        for task in tasks:
            self._objects.let_go(task.path)
        for namespace, attempt in {(task.namespace, parse_task_key(task.key)[0]) for task in tasks}:
            for kind in ("secrets", "services"):
                self._objects.delete(f"/api/v1/namespaces/{namespace}/{kind}/{labels.object_name(attempt)}")
        for key in keys:
            shutil.rmtree(self._state.task(key), ignore_errors=True)

    def _sweep(self, attempts: set[str]) -> None:
        """Secrets and services of attempts that have no pods: an agent died between the two."""
        for kind in ("secrets", "services"):
            for page in pages(self._api, f"/api/v1/{kind}", labelSelector=f"{labels.CLUSTER}={self._cluster},{labels.ATTEMPT}"):
                for item in page["items"]:
                    metadata = item["metadata"]
                    if metadata["labels"][labels.ATTEMPT] not in attempts:
                        self._objects.delete(f"/api/v1/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}")

    # What the cluster says -------------------------------------------------------------------------------------------

    def _pod_changed(self, pod: dict[str, Any], gone: bool) -> None:
        if labels.is_ours(pod, self._cluster):
            with self._lock:
                task = self._tasks.get(key_of(pod))
            if task is not None:
                self._look(task, pod, gone=gone)
        self._fleet.pod_changed(pod, gone)
        self.usage_changed()

    def node_gone(self, node: str) -> None:
        """Look again at what ran there."""
        for task in list(self._tasks.values()):
            if task.pod is not None and task.pod["spec"].get("nodeName") == node:
                self._look(task, task.pod, gone=False)

    def _look(self, task: PodTask, pod: dict[str, Any], *, gone: bool) -> None:
        if gone:
            self._submit_end(task, taken_away(task.pod or {"spec": {}}), None)
            return
        task.pod = pod
        node = pod["spec"].get("nodeName", "")
        end = self._end_of(pod)
        if end is not None:
            self._submit_end(task, end, pod)
            return
        if pod["metadata"].get("deletionTimestamp") and node and not task.end_stop and task.stop is not None:
            task.end_stop = True
            self._on_event(task.key, "stopping", {"reason": task.stop[0]})
        since = running_since(pod)
        if since is not None and not task.running:
            task.running = True
            self._on_event(task.key, "started", {"started_at": since})
            self._on_event(task.key, "running", None)
        elif since is None and task.refused is None and (refused := cannot_start(pod)) is not None:
            self._refuse(task, refused)

    def _end_of(self, pod: dict[str, Any]) -> End | None:
        node = pod["spec"].get("nodeName", "")
        return end_of(pod, node_is_gone=self._fleet.is_gone(node)) if node else None

    def _refuse(self, task: PodTask, why: End) -> None:
        task.refused = why
        self._pool.submit(self._guarded, self._stop, task)

    def _submit_end(self, task: PodTask, end: End, pod: dict[str, Any] | None) -> None:
        with self._lock:
            if task.ending:
                return
            task.ending = True
        self._pool.submit(self._guarded, self._tell_end, task, task.refused or end, pod)

    def _end(self, task: PodTask, end: End, pod: dict[str, Any] | None) -> None:
        with self._lock:
            if task.ending:
                return
            task.ending = True
        self._tell_end(task, end, pod)

    def _tell_end(self, task: PodTask, end: End, pod: dict[str, Any] | None) -> None:
        result = self._result(task, end, pod)
        reach("kubernetes.before_ended")
        self._on_event(task.key, "ended", result)

    def _result(self, task: PodTask, end: End, pod: dict[str, Any] | None) -> dict[str, Any]:
        """With its output fetched."""
        size = 0
        if pod is not None and end.started_at is not None:
            size = fetch_output(self._api, task.path, labels.object_name(parse_task_key(task.key)[0]), self._state.task(task.key))
        return end.result(log_bytes=size, stop_reason=task.stop[0] if task.stop else None)

    # Now and then ----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """What nobody tells: pods that do not start, removals that failed."""
        again_at = time.monotonic() + _AGAIN_SECONDS
        while not self._closing.wait(_TICK_SECONDS):
            now = time.monotonic()
            for task in list(self._tasks.values()):
                if task.waits_since(now - START_SECONDS):
                    self._refuse(task, End("task_lost", f"its node did not start it within {START_SECONDS / 60:.0f} min"))
            if now > again_at:
                again_at = now + _AGAIN_SECONDS
                for path in list(self._objects.held):
                    self._pool.submit(self._guarded, self._objects.let_go, path)
                for task in list(self._tasks.values()):
                    if (task.stop or task.refused) and not task.ending and parse_task_key(task.key)[0] not in self._launching:
                        self._pool.submit(self._guarded, self._stop, task)

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run it in the pool: what fails is said, and tried again by the tick."""
        try:
            function(*arguments)
        except (ApiError, OSError) as failure:
            log.warning("the Kubernetes API refused or failed, trying again: %s", failure)
        except Exception:
            log.exception("a task could not be handled by a fault of ours")

    def _of_attempt(self, attempt: str) -> list[PodTask]:
        """Under the lock. Ranks are few and their keys follow from the attempt's."""
        found = []
        for rank in range(len(self._tasks)):
            task = self._tasks.get(task_key(attempt, rank))
            if task is None:
                break
            found.append(task)
        return found
