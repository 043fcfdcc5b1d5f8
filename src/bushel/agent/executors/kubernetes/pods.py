"""From an attempt that the control plane wants to the objects that run it: an allow-list, nothing of a document goes through as it is.

Guarantees: every pod passes the Pod Security level `restricted`: no root, no privileges, no capabilities, no mount of
the node, no token of the cluster; its scheduler is ours, so nothing else binds it; the values of secrets are in the
attempt's Secret and nowhere else. What Kubernetes cannot do for us is refused with a sentence (`CannotRun`).
"""

from __future__ import annotations

import base64
import json
import os
import time

from bushel.agent import clock
from bushel.agent.environment import task_environment
from bushel.agent.executors.kubernetes import labels
from bushel.agent.executors.kubernetes.amounts import GPU_RESOURCE
from bushel.agent.executors.kubernetes.endings import SETUP_FAILED_WORD, WORKDIR_FAILED_WORD
from bushel.agent.executors.local.folder import task_key
from bushel.agent.requests import CannotRun, time_limit_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from bushel.agent.config import AgentConfig
    from bushel.spec.agent import DesiredAttempt, DesiredTasks

MASTER_PORT = 29500
"""Each pod has an address of its own, so one port does for all."""

WORKDIR_LIMIT_BYTES = 700 * 1024
"""What fits into a Secret with room to spare."""

USER = 65532
HOME = "/bushel"
_WORKDIR_KEY, _ENV_PREFIX = "workdir.tar.gz", "env."
_TERMINATION = "/dev/termination-log"

_PREPARE = f"""
mkdir -p {HOME}/work {HOME}/checkpoints && cd {HOME}/work || exit 1
if [ -f {HOME}/in/{_WORKDIR_KEY} ]; then
  tar -xzf {HOME}/in/{_WORKDIR_KEY} || {{ printf {WORKDIR_FAILED_WORD} > {_TERMINATION}; exit 1; }}
fi
if [ -n "$0" ]; then
  /bin/sh -c "$0" || {{ code=$?; printf {SETUP_FAILED_WORD} > {_TERMINATION}; exit $code; }}
fi
exec "$@"
"""
"""What comes before the command in its container. `$0` is the setup."""


class PodMaker:
    """Makes requests for the executor, as `bushel.agent.requests.RequestMaker` does for processes."""

    def __init__(self, config: AgentConfig, namespace_prefix: str) -> None:
        self._config = config
        self._prefix = namespace_prefix

    def make(
        self,
        attempt: DesiredAttempt,
        *,
        ranks: Sequence[int],
        epoch: int,
        master_port: int,  # noqa: ARG002 - each pod has its own
        workdir: str | None,
        devices: Mapping[int, Sequence[str] | None],  # noqa: ARG002 - the cluster gives them
    ) -> list[dict[str, Any]]:
        """One request for each of `ranks`: its pod, and what its attempt needs besides.

        Raises:
            CannotRun: Kubernetes, or this agent, has no way to run it.
        """
        image = attempt["spec"].get("image")
        if not image:
            raise CannotRun("it names no image, and this cluster runs nothing else; give it an `image`")
        if attempt.get("context"):
            raise CannotRun("stages of pipelines do not run on Kubernetes yet; place them on another cluster")
        wanted, name = set(ranks), labels.object_name(attempt["id"])
        namespace = labels.namespace(self._prefix, attempt["project"])
        common = labels.of_attempt(self._config.cluster, attempt["id"], epoch)
        shared = {"secret": _secret(attempt, name, common, workdir), "service": _service(attempt, name, common)}
        hosts = [f"{name}-{rank}.{name}" for rank in range(attempt["task_count"])] if attempt["task_count"] > 1 else ["127.0.0.1"]
        return [
            {
                "key": task_key(attempt["id"], rank),
                "namespace": namespace,
                "node": tasks["node"],
                "amounts": tasks["amounts"],
                "task_count": attempt["task_count"],
                "pod": self._pod(attempt, tasks, rank, str(image), name, common, hosts, has_workdir=workdir is not None),
                **shared,
            }
            for tasks in attempt["placement"]
            for rank in range(*tasks["ranks"])
            if rank in wanted
        ]

    def _pod(
        self,
        attempt: DesiredAttempt,
        tasks: DesiredTasks,
        rank: int,
        image: str,
        name: str,
        common: dict[str, str],
        hosts: list[str],
        *,
        has_workdir: bool,
    ) -> dict[str, Any]:
        spec: dict[str, Any] = dict(attempt["spec"])
        group = next((group for group in spec.get("groups") or () if group["name"] == tasks["group"]), {})
        run, setup = group.get("run", spec.get("run")), group.get("setup", spec.get("setup")) or ""
        command = ["/bin/sh", "-c", run] if isinstance(run, str) else list(run or ())
        if has_workdir or setup:
            command = ["/bin/sh", "-c", _PREPARE, setup, *command]
        grace = float((spec.get("preemption") or {}).get("grace", 30.0))
        facts = {"task_count": attempt["task_count"], "grace_seconds": grace, "master_port": MASTER_PORT, "node": tasks["node"]}
        environment = self._environment(attempt, tasks["group"], rank, hosts, grace, {**(spec.get("env") or {}), **group.get("env", {})})
        amounts = _resources(tasks["amounts"])
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-{rank}",
                "labels": {**common, labels.RANK: str(rank)},
                "annotations": {labels.FACTS: json.dumps(facts), **self._annotations(spec)},
                "finalizers": [labels.FINALIZER],
            },
            "spec": {
                "schedulerName": labels.SCHEDULER,
                "restartPolicy": "Never",
                "hostname": f"{name}-{rank}",
                **({"subdomain": name} if attempt["task_count"] > 1 else {}),
                "terminationGracePeriodSeconds": max(int(grace), 1),
                "activeDeadlineSeconds": max(int(time_limit_seconds(attempt)), 1),
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": USER,
                    "runAsGroup": USER,
                    "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "task",
                        "image": image,
                        "command": command,
                        **({"workingDir": f"{HOME}/work"} if has_workdir else {}),
                        "env": [{"name": key, "value": value} for key, value in environment.items()]
                        + [_from_secret(name, key) for key in attempt["secrets"] if key not in environment],
                        "resources": {"requests": amounts, "limits": amounts},
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        "volumeMounts": [{"name": "home", "mountPath": HOME}]
                        + ([{"name": "in", "mountPath": f"{HOME}/in", "readOnly": True}] if has_workdir else []),
                    }
                ],
                "volumes": [{"name": "home", "emptyDir": {}}] + ([_workdir_volume(name)] if has_workdir else []),
            },
        }

    def _environment(
        self, attempt: DesiredAttempt, group: str, rank: int, hosts: list[str], grace_seconds: float, own: Mapping[str, str]
    ) -> dict[str, str]:
        """All variables but those of secrets, which hide the job's own of the same name."""
        given: DesiredAttempt = {**attempt, "secrets": {}}
        told = task_environment(
            given,
            rank=rank,
            group=group,
            site=self._config.site,
            cluster=self._config.cluster,
            hosts=hosts,
            master_port=MASTER_PORT,
            deadline=clock.timestamp(time.time_ns() + int(time_limit_seconds(attempt) * 1e9)),
            grace_seconds=grace_seconds,
            checkpoint_folder=f"{HOME}/checkpoints",
            progress_file=f"{HOME}/progress",
            result_file=f"{HOME}/result",
            partitions_file=f"{HOME}/partitions",
            mark=task_key(attempt["id"], rank),
            base=self._config.environment,
            own={},
        )
        plain = {key: str(value) for key, value in own.items() if key not in attempt["secrets"]}
        return {**plain, **told}

    def _annotations(self, spec: Mapping[str, Any]) -> dict[str, str]:
        """Labels of the job that the operator lets through to the pod."""
        allowed = self._config.kubernetes.annotations if self._config.kubernetes else ()
        return {key: str(value) for key, value in (spec.get("labels") or {}).items() if key in allowed}


def _resources(amounts: Mapping[str, int]) -> dict[str, str]:
    """Raises:
    CannotRun: a share of an accelerator is asked for.
    """
    made: dict[str, str] = {}
    for resource, amount in amounts.items():
        if resource == "cpu":
            made["cpu"] = f"{amount}m"
        elif resource == "memory":
            made["memory"] = str(amount)
        elif resource == "disk":
            made["ephemeral-storage"] = str(amount)
        elif amount % 1000:
            raise CannotRun(f"it asks for {amount / 1000:g} of an accelerator; on Kubernetes they are given whole")
        elif amount:
            made[GPU_RESOURCE] = str(amount // 1000)
    return made


def _secret(attempt: DesiredAttempt, name: str, common: dict[str, str], workdir: str | None) -> dict[str, Any] | None:
    """What the attempt's pods may see besides their environment.

    Raises:
        CannotRun: the working folder is too large.
    """
    data = {f"{_ENV_PREFIX}{key}": base64.b64encode(value.encode()).decode() for key, value in attempt["secrets"].items()}
    if workdir is not None:
        size = os.path.getsize(workdir)
        if size > WORKDIR_LIMIT_BYTES:
            raise CannotRun(
                f"its working folder packs to {size / 1024:.0f} KiB; on Kubernetes the most is {WORKDIR_LIMIT_BYTES // 1024} KiB: "
                "put what is large into the image"
            )
        with open(workdir, "rb") as file:
            data[_WORKDIR_KEY] = base64.b64encode(file.read()).decode()
    if not data:
        return None
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": common}, "immutable": True, "data": data}


def _service(attempt: DesiredAttempt, name: str, common: dict[str, str]) -> dict[str, Any] | None:
    """By which the ranks of a gang find each other's addresses, before they are ready too."""
    if attempt["task_count"] == 1:
        return None
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {labels.ATTEMPT: attempt["id"]}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": common}, "spec": spec}


def secret_values(secret: Mapping[str, Any]) -> list[str]:
    """What must not be seen in a log."""
    data: Mapping[str, str] = secret.get("data") or {}
    return [base64.b64decode(value).decode(errors="replace") for key, value in data.items() if key.startswith(_ENV_PREFIX)]


def _from_secret(name: str, key: str) -> dict[str, Any]:
    return {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": f"{_ENV_PREFIX}{key}"}}}


def _workdir_volume(name: str) -> dict[str, Any]:
    return {"name": "in", "secret": {"secretName": name, "items": [{"key": _WORKDIR_KEY, "path": _WORKDIR_KEY}]}}
