"""From an attempt that the control plane wants to the requests that start its tasks.

Guarantees: a pure translation, apart from asking the system for a free port; secrets' values are in `env` and
`secrets` and nowhere else.

A request, which travels from the agent through the launcher to the shim and is never written down:

    key, folder, mark, epoch, boot_id, state_folder
    facts                   what goes into the mark on disk: attempt, rank, task_count, grace_seconds, master_port, devices, node
    setup, run, by_shell    argument lists; `by_shell`: run's first process is a shell around a text of the user's
    env, secrets, folders   folders are made before, and removed after if they are empty and no other rank uses them
    workdir                 path of the archive, or null
    result                  whether it may leave a result: it is of a stage of a run
    limits                  cpu_milli, memory_bytes, disk_bytes; 0 is no limit
    time_limit_seconds, grace_seconds, notice, log_spool_bytes
    cgroups                 added by the executor
"""

from __future__ import annotations

import signal
import socket
import time
from collections import deque

from bushel.agent import clock
from bushel.agent.environment import task_environment
from bushel.agent.executors.local.folder import PARTITIONS, PROGRESS, RESULT, task_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from bushel.agent.config import AgentConfig
    from bushel.agent.state import StateFolder
    from bushel.spec.agent import DesiredAttempt, DesiredTasks

SHELL = "/bin/sh"
"""Runs texts, on every node alike."""

_RECENT_PORTS = 4096


class CannotRun(ValueError):
    """This engine has no way to run the job. The text says why, in words for its owner."""


class FreePorts:
    """Ports that nobody listened on when they were asked for, and none of the last few thousand handed out."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=_RECENT_PORTS)

    def take(self) -> int:
        port = 0
        for _ in range(64):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            if port not in self._recent:
                break
        self._recent.append(port)
        return port


class RequestMaker:
    """`base` is the environment that every task on this node gets; `addresses` maps node names to where others reach them."""

    def __init__(self, config: AgentConfig, state: StateFolder, base: Mapping[str, str], addresses: Mapping[str, str]) -> None:
        self._config = config
        self._state = state
        self._base = base
        self._addresses = addresses

    def make(
        self,
        attempt: DesiredAttempt,
        *,
        ranks: Sequence[int],
        epoch: int,
        master_port: int,
        workdir: str | None,
        devices: Mapping[int, Sequence[str] | None],
    ) -> list[dict[str, Any]]:
        """One request for each of `ranks`. `devices` has, by rank, what CUDA_VISIBLE_DEVICES is to be; None leaves it alone."""
        hosts = self._hosts(attempt)
        deadline = clock.timestamp(time.time_ns() + int(time_limit_seconds(attempt) * 1e9))
        wanted = set(ranks)
        return [
            self._one(attempt, tasks, rank, hosts, deadline, epoch, master_port, workdir, devices.get(rank))
            for tasks in attempt["placement"]
            for rank in range(*tasks["ranks"])
            if rank in wanted
        ]

    def _one(
        self,
        attempt: DesiredAttempt,
        tasks: DesiredTasks,
        rank: int,
        hosts: list[str],
        deadline: str,
        epoch: int,
        master_port: int,
        workdir: str | None,
        visible: Sequence[str] | None,
    ) -> dict[str, Any]:
        spec = attempt["spec"]
        group = next((group for group in _get(spec, "groups", []) if group["name"] == tasks["group"]), {})
        run, setup = group.get("run", spec.get("run")), group.get("setup", spec.get("setup"))
        preemption: Mapping[str, Any] = _get(spec, "preemption", {})
        grace_seconds = float(preemption.get("grace", 30.0))
        checkpoint_folder = self._state.checkpoints(attempt["id"].partition(".")[0], attempt["index"])
        key = task_key(attempt["id"], rank)
        folder, mark = self._state.task(key), f"{key}@{self._state.incarnation}"
        env = task_environment(
            attempt,
            rank=rank,
            group=tasks["group"],
            site=self._config.site,
            cluster=self._config.cluster,
            hosts=hosts,
            master_port=master_port,
            deadline=deadline,
            grace_seconds=grace_seconds,
            checkpoint_folder=checkpoint_folder,
            progress_file=f"{folder}/{PROGRESS}",
            result_file=f"{folder}/{RESULT}",
            partitions_file=f"{folder}/{PARTITIONS}",
            mark=mark,
            base=self._base,
            own={**_get(spec, "env", {}), **group.get("env", {})},
        )
        if visible is not None:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(visible)
        return {
            "key": key,
            "folder": folder,
            "mark": mark,
            "epoch": epoch,
            "boot_id": self._state.boot,
            "state_folder": self._state.path,
            "facts": {
                "attempt": attempt["id"],
                "rank": rank,
                "node": tasks["node"],
                "task_count": attempt["task_count"],
                "grace_seconds": grace_seconds,
                "master_port": master_port,
                "devices": list(visible or ()),
            },
            "setup": [SHELL, "-c", setup] if setup else None,
            "run": [SHELL, "-c", run] if isinstance(run, str) else list(run),
            "by_shell": isinstance(run, str),
            "env": env,
            "secrets": list(attempt["secrets"].values()),
            "folders": [checkpoint_folder],
            "workdir": workdir,
            "result": bool(attempt.get("context")),
            "limits": _limits(tasks["amounts"]),
            "time_limit_seconds": time_limit_seconds(attempt),
            "grace_seconds": grace_seconds,
            "notice": int(signal.Signals[preemption.get("notice", "SIGTERM")]),
            "log_spool_bytes": self._config.log_spool_bytes,
        }

    def _hosts(self, attempt: DesiredAttempt) -> list[str]:
        hosts = ["127.0.0.1"] * attempt["task_count"]
        for tasks in attempt["placement"]:
            for rank in range(*tasks["ranks"]):
                if rank < len(hosts):
                    hosts[rank] = self._addresses.get(tasks["node"], "127.0.0.1")
        return hosts


def time_limit_seconds(attempt: DesiredAttempt) -> float:
    return float(_get(attempt["spec"], "time_limit", 86400.0))


def _limits(amounts: Mapping[str, int]) -> dict[str, int]:
    return {"cpu_milli": amounts.get("cpu", 0), "memory_bytes": amounts.get("memory", 0), "disk_bytes": amounts.get("disk", 0)}


def _get(spec: Mapping[str, Any], name: str, default: Any) -> Any:
    value = spec.get(name)
    return default if value is None else value
