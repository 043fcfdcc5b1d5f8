"""Killing what a dead shim left running.

Guarantees: only processes of that task are hit: those in its control groups, or else those of the shim's session or
with the task's key in their environment, checked against the machine's start and the shim's. Doing it twice, or from
two processes, is harmless.
"""

from __future__ import annotations

import signal
import time

from bushel.agent.executors.local import processes
from bushel.agent.executors.local.cgroups import TaskGroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIMEOUT_SECONDS = 5.0
MARK_VARIABLE = "BUSHEL_TASK_KEY"


def kill_survivors(start: dict[str, Any], boot: str) -> None:
    """`start` is what the shim wrote down when it began."""
    if start.get("boot_id") != boot:
        return
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    groups = TaskGroups(start["cgroups"])
    if groups.paths:
        while not groups.kill() and time.monotonic() < deadline:
            time.sleep(0.005)
        groups.remove()
        return
    mark = f"{MARK_VARIABLE}={start['mark']}".encode()
    while (left := processes.survivors(start["pid"], start["start_ticks"], mark)) and time.monotonic() < deadline:
        for pid in left:
            ticks = processes.start_ticks(pid)
            if ticks is not None:
                processes.send(pid, ticks, signal.SIGKILL)
        time.sleep(0.005)
