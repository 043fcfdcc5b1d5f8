"""What an agent knows of each attempt, and the report that follows from it.

Guarantees: a state never goes back; `ended` is reported only when every rank has ended; each change gives a higher
`report_version`, also across restarts of the agent; nothing here talks to anybody, so it is plain to test.
"""

from __future__ import annotations

from bushel.agent import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bushel.spec.agent import AttemptReport, DesiredAttempt, TaskReport, TaskState

_ORDER: dict[TaskState, int] = {"starting": 0, "running": 1, "stopping": 2, "ended": 3}


class Task:
    """One rank. `node` and `devices` are what it holds."""

    __slots__ = ("devices", "node", "printed_nothing", "rank", "result", "started_at", "state", "stop_reason", "told_to_stop")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.state: TaskState = "starting"
        self.started_at: str | None = None
        self.result: dict[str, Any] | None = None
        self.stop_reason: str | None = None
        self.told_to_stop: tuple[str, float] | None = None
        self.node = ""
        self.devices: list[str] = []
        self.printed_nothing = False  # and the report of its end says so

    @property
    def ended(self) -> bool:
        return self.result is not None

    @property
    def succeeded(self) -> bool:
        return self.result is not None and self.result["exit_code"] == 0 and self.result["reason"] is None

    def advance(self, state: TaskState) -> bool:
        """Go to a later state; an earlier one changes nothing."""
        if _ORDER[state] <= _ORDER[self.state]:
            return False
        self.state = state
        return True

    def report(self) -> TaskReport:
        report: TaskReport = {"rank": self.rank, "state": self.state, "started_at": self.started_at}
        if self.result is not None:
            for name in ("ended_at", "exit_code", "signal", "reason", "message", "usage"):
                report[name] = self.result[name]  # type: ignore[literal-required]
            if self.result.get("result") is not None:
                report["result"] = self.result["result"]
            if self.printed_nothing:
                report["log_bytes"] = 0
            if self.started_at is None:
                report["started_at"] = self.result["started_at"]
        elif self.stop_reason is not None:
            report["reason"] = self.stop_reason
        return report


class Attempt:
    """`desired` is None for one that was found on disk until the control plane has spoken of it."""

    def __init__(self, id: str, task_count: int, epoch: int) -> None:
        self.id = id
        self.task_count = task_count
        self.epoch = epoch
        self.desired: DesiredAttempt | None = None
        self.tasks: dict[int, Task] = {}
        self.master_port = 0
        self.grace_seconds = 30.0
        self.version = 0
        self.answered_version = 0  # the newest report that the control plane has answered
        self.progress: dict[str, Any] | None = None
        self.fetching = False
        self.abandoned = False  # of an epoch that is over: nobody wants to hear of it
        self.forgotten = False  # its end is recorded: it may go once its logs are sent

    @property
    def ended(self) -> bool:
        return len(self.tasks) >= self.task_count and all(task.ended for task in self.tasks.values())

    @property
    def state(self) -> TaskState:
        if self.ended:
            return "ended"
        live = [task.state for task in self.tasks.values() if not task.ended]
        if live and all(state == "stopping" for state in live):
            return "stopping"
        return "running" if any(task.state != "starting" for task in self.tasks.values()) else "starting"

    def report(self) -> AttemptReport:
        return {
            "id": self.id,
            "report_version": self.version,
            "state": self.state,
            "tasks": [self.tasks[rank].report() for rank in sorted(self.tasks)],
            "progress": self.progress,
        }


class ReportVersions:
    """Numbers that grow, also across restarts: the generation of the state folder leads."""

    def __init__(self, generation: int) -> None:
        self._next = generation << 32

    def next(self) -> int:
        self._next += 1
        return self._next


def ended_unseen(reason: str, message: str | None) -> dict[str, Any]:
    """The result of a task that no shim saw to its end, for instance because it was never started."""
    return {
        "started_at": None,
        "ended_at": clock.timestamp(),
        "exit_code": None,
        "signal": None,
        "reason": reason,
        "message": message,
        "usage": {},
        "progress": None,
        "log_bytes": 0,
    }
