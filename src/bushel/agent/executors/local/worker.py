"""The process in which a shim lives: it watches one task after another.

Guarantees: it leads a session of its own, adopts the orphans of its tasks, and no signal but SIGKILL ends it while a
task runs. It is a fork of the launcher and shares most of its memory.
"""

from __future__ import annotations

import os
import signal

from bushel.agent.executors.local import processes
from bushel.agent.executors.local.cgroups import SlotGroups
from bushel.agent.executors.local.child import raise_file_limit
from bushel.agent.executors.local.shim import Shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Worker:
    """Made in a fork of the launcher."""

    def __init__(self, events: int) -> None:
        os.setsid()
        processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
        processes.set_name(b"bushel-shim")
        raise_file_limit()
        self.events = events
        self.pid = os.getpid()
        self.start_ticks = processes.start_ticks(self.pid)
        self.groups = SlotGroups(f"{self.pid}.{self.start_ticks}")
        self.wake, wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGUSR1):
            signal.signal(number, _nothing)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)  # it is stopped by its task's end alone
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def run(self, request: dict[str, Any]) -> None:
        """Carry out one task; see `bushel.agent.requests` for the request. Returns when nothing of it is left."""
        shim = Shim(request, self)
        try:
            shim.run()
        finally:
            shim.close()

    def close(self) -> None:
        self.groups.remove()


def _nothing(_number: int, _frame: object) -> None:
    """Signals only wake the loop."""
