"""How an attempt ended, judged from what became of its tasks.

Guarantees: a pure function. Success takes an exit code of 0 from every task, so a report that leaves one out can never
make a success. A success stands even when a stop was asked for meanwhile: what was done is done. Everything else has one
reason, and each reason has one failure class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bushel.domain.lifecycle import FailureClass, Outcome, Reason

CHECKPOINTED_EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: "I saved my work, queue me again"."""

BAD_DATA_EXIT_CODE = 65
"""EX_DATAERR of sysexits.h: "what I was given to work on is bad"."""

_O, _F, _R = Outcome, FailureClass, Reason

ENDINGS: dict[Reason, tuple[Outcome, FailureClass | None]] = {
    _R.EXIT_CODE: (_O.FAILED, _F.APPLICATION),
    _R.SIGNALLED: (_O.FAILED, _F.APPLICATION),
    _R.OUT_OF_MEMORY: (_O.FAILED, _F.APPLICATION),  # it asked for too little; the same amount fails again
    _R.TIME_LIMIT: (_O.FAILED, _F.DEADLINE),
    _R.START_FAILED: (_O.FAILED, _F.APPLICATION),  # no such program, not executable, no such user
    _R.SETUP_FAILED: (_O.FAILED, _F.APPLICATION),
    _R.WORKDIR_FAILED: (_O.FAILED, _F.DATA),  # the uploaded archive is gone or cannot be unpacked
    _R.RESULT_FAILED: (_O.FAILED, _F.DATA),  # what it wrote of what it came to cannot be kept
    _R.DISK_FULL: (_O.FAILED, _F.INFRASTRUCTURE),  # the node's disk, not the task's own limit
    _R.PLACEMENT_REJECTED: (_O.LOST, _F.INFRASTRUCTURE),  # it never ran: its cluster had changed since the plan was made
    _R.TASK_LOST: (_O.LOST, _F.INFRASTRUCTURE),
    _R.LEASE_EXPIRED: (_O.LOST, _F.INFRASTRUCTURE),
    _R.NODE_LOST: (_O.LOST, _F.INFRASTRUCTURE),
    _R.SIBLING_FAILED: (_O.FAILED, _F.UNKNOWN),  # only when no other task says what was first
    _R.PREEMPTED: (_O.PREEMPTED, _F.PREEMPTED),
    _R.CANCELLED_BY_USER: (_O.CANCELLED, _F.CANCELLED),
    _R.CHECKPOINTED: (_O.CHECKPOINTED, None),
}
"""Reason of an attempt's end → outcome and failure class. A reason that is not here cannot end an attempt."""

NODE_AT_FAULT = frozenset({_R.DISK_FULL, _R.NODE_LOST})
"""Reasons after which an element avoids the node that it ran on. A lost lease accuses no node: the whole cluster was silent."""

_EXTERNAL_SIGNALS = frozenset({1, 2, 9, 15})  # HUP, INT, KILL, TERM: sent by somebody, we do not know who


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """The last word about one rank."""

    rank: int
    exit_code: int | None = None
    signal: int | None = None
    reason: Reason | None = None
    message: str | None = None
    ended_at: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """The judgement. `rank` is the task that explains it, if one does."""

    outcome: Outcome
    failure: FailureClass | None = None
    reason: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None
    message: str | None = None
    rank: int | None = None


def judge(tasks: Sequence[TaskEnd], task_count: int, stop_reason: Reason | None = None) -> Ending:
    """What the ends of `tasks` mean for an attempt of `task_count` ranks that was told to stop for `stop_reason`, if it was."""
    failed = [task for task in tasks if not _succeeded(task)]
    if not failed and {task.rank for task in tasks} >= set(range(task_count)):
        return Ending(Outcome.SUCCEEDED, exit_code=0)
    if not failed:
        return ended_for(stop_reason or Reason.TASK_LOST, "the agent did not say how every task ended" if not stop_reason else None)
    first = min(failed, key=lambda task: (_reason(task) is Reason.SIBLING_FAILED, task.ended_at or "~", task.rank))
    reason = _reason(first)
    if stop_reason is not None and _explains(stop_reason, reason):
        reason = stop_reason
    outcome, failure = ENDINGS[reason]
    if reason is Reason.SIGNALLED and first.signal in _EXTERNAL_SIGNALS:
        failure = FailureClass.UNKNOWN
    if reason is Reason.EXIT_CODE and first.exit_code == BAD_DATA_EXIT_CODE:
        failure = FailureClass.DATA
    return Ending(outcome, failure, reason, first.exit_code, first.signal, first.message or _message(first, reason), first.rank)


def ended_for(reason: Reason, message: str | None = None) -> Ending:
    """The end of an attempt of which no task has spoken."""
    outcome, failure = ENDINGS.get(reason, (Outcome.LOST, FailureClass.UNKNOWN))
    return Ending(outcome, failure, reason, message=message)


_FOLLOWS_A_STOP = frozenset({_R.EXIT_CODE, _R.SIGNALLED, _R.CHECKPOINTED, _R.SIBLING_FAILED, _R.PREEMPTED, _R.CANCELLED_BY_USER})
"""Ends that a stop brings about; after one of them the stop is the cause. Memory or a disk that ran out meanwhile stays the cause."""


def _explains(stop_reason: Reason, reason: Reason) -> bool:
    if reason is Reason.CHECKPOINTED and stop_reason is Reason.TIME_LIMIT:
        return False  # it used its notice to save its work and asks for more time
    return stop_reason is Reason.CANCELLED_BY_USER or reason in _FOLLOWS_A_STOP


def _succeeded(task: TaskEnd) -> bool:
    # An exit code of 0 after the agent had to stop the task says that it stopped well, not that it was finished.
    return task.exit_code == 0 and task.reason in (None, Reason.CANCELLED_BY_USER)


def _reason(task: TaskEnd) -> Reason:
    if task.exit_code == CHECKPOINTED_EXIT_CODE and task.reason in (None, Reason.EXIT_CODE, Reason.TIME_LIMIT, Reason.PREEMPTED):
        return Reason.CHECKPOINTED
    if task.reason is not None and task.reason in ENDINGS:
        return task.reason
    if task.signal is not None:
        return Reason.SIGNALLED
    return Reason.EXIT_CODE if task.exit_code is not None else Reason.TASK_LOST


def _message(task: TaskEnd, reason: Reason) -> str | None:
    if reason is Reason.EXIT_CODE:
        return f"exit code {task.exit_code}"
    return f"signal {task.signal}" if reason is Reason.SIGNALLED else None
