"""What may become of a job and of an attempt: two tables, and the rule that derives a job's state from its parts.

Guarantees: a state that is not in a row of the table cannot be reached from that row's state; a terminal state has an
empty row, so it never changes. Everything that moves a state asks `check_job` or `check_attempt` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bushel.domain.errors import Conflict


class JobState(StrEnum):
    HELD = "held"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    CHECKPOINTED = "checkpointed"  # exit code 75: queue me again
    LOST = "lost"  # its cluster's lease ran out, or its process vanished without a word


class FailureClass(StrEnum):
    """What retry policies name."""

    APPLICATION = "application"
    INFRASTRUCTURE = "infrastructure"
    PREEMPTED = "preempted"
    DEADLINE = "deadline"
    DATA = "data"
    QUOTA = "quota"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a job or an attempt is in its state; the closed list, each with a page under docs/reference/reasons."""

    USER_HOLD = "user_hold"
    DEPENDENCY = "dependency"
    DEPENDENCY_FAILED = "dependency_failed"
    UPSTREAM = "upstream"
    WAITING = "waiting"
    BACKOFF = "backoff"
    ARRAY_LIMIT = "array_limit"
    QUEUE_QUOTA = "queue_quota"
    NO_CAPACITY = "no_capacity"
    NO_MATCHING_NODE = "no_matching_node"
    EXIT_CODE = "exit_code"
    SIGNALLED = "signalled"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    START_FAILED = "start_failed"
    SETUP_FAILED = "setup_failed"
    WORKDIR_FAILED = "workdir_failed"
    RESULT_FAILED = "result_failed"
    DISK_FULL = "disk_full"
    PLACEMENT_REJECTED = "placement_rejected"
    TASK_LOST = "task_lost"
    LEASE_EXPIRED = "lease_expired"
    NODE_LOST = "node_lost"
    SIBLING_FAILED = "sibling_failed"
    PREEMPTED = "preempted"
    CANCELLED_BY_USER = "cancelled_by_user"
    CHECKPOINTED = "checkpointed"
    RETRIES_EXHAUSTED = "retries_exhausted"


_J, _A = JobState, AttemptState

JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    # failed: an array held after a failure, the rest of it cancelled; succeeded: a stage of a run, the last results of it taken over
    _J.HELD: frozenset({_J.QUEUED, _J.SUCCEEDED, _J.FAILED, _J.CANCELLED}),
    # running: an array of which something has ended, and another element starts
    _J.QUEUED: frozenset({_J.HELD, _J.STARTING, _J.RUNNING, _J.FAILED, _J.CANCELLED}),
    _J.STARTING: frozenset({_J.QUEUED, _J.HELD, _J.RUNNING, _J.STOPPING, _J.SUCCEEDED, _J.FAILED, _J.CANCELLED}),
    _J.RUNNING: frozenset({_J.QUEUED, _J.HELD, _J.STARTING, _J.STOPPING, _J.SUCCEEDED, _J.FAILED, _J.CANCELLED}),
    # running: an array whose live elements were all stopping, and another one starts
    _J.STOPPING: frozenset({_J.QUEUED, _J.HELD, _J.RUNNING, _J.SUCCEEDED, _J.FAILED, _J.CANCELLED}),
    _J.SUCCEEDED: frozenset(),
    _J.FAILED: frozenset(),
    _J.CANCELLED: frozenset(),
}

ATTEMPT_TRANSITIONS: dict[AttemptState, frozenset[AttemptState]] = {
    _A.STARTING: frozenset({_A.RUNNING, _A.STOPPING, _A.ENDED}),
    _A.RUNNING: frozenset({_A.STOPPING, _A.ENDED}),
    _A.STOPPING: frozenset({_A.ENDED}),
    _A.ENDED: frozenset(),
}

TERMINAL_JOB_STATES = frozenset(state for state, following in JOB_TRANSITIONS.items() if not following)


def check_job(before: JobState, after: JobState) -> None:
    """Staying is no transition and always allowed.

    Raises:
        Conflict: the table has no such step.
    """
    if after != before and after not in JOB_TRANSITIONS[before]:
        raise Conflict(f"a job that is {before} cannot become {after}")


def check_attempt(before: AttemptState, after: AttemptState) -> None:
    """As `check_job`, for attempts."""
    if after != before and after not in ATTEMPT_TRANSITIONS[before]:
        raise Conflict(f"an attempt that is {before} cannot become {after}")


@dataclass(frozen=True, slots=True)
class ElementCounts:
    """Where the elements of a job are. An element is an array index; a job without an array has one.

    `starting`, `running` and `stopping` have a live attempt; `delayed` wait for their back-off to pass, `gated` ones, of a stage
    of a run, for what they are made of.
    """

    pending: int = 0
    delayed: int = 0
    starting: int = 0
    running: int = 0
    stopping: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    gated: int = 0

    @property
    def live(self) -> int:
        return self.starting + self.running + self.stopping

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.cancelled

    @property
    def total(self) -> int:
        return self.pending + self.delayed + self.gated + self.live + self.finished


def job_state(counts: ElementCounts, *, held: bool, cancelling: bool) -> JobState:
    """The state that the elements of a job add up to.

    A job is terminal when no element can move any more: failed if any failed, else cancelled if any was, else
    succeeded. `held` covers a user's hold and unmet dependencies; `cancelling` says that all of it was told to stop.
    It is starting only before anything of it ran, so that an array does not go back and forth with each of its elements.
    """
    if counts.live:
        if cancelling or counts.stopping == counts.live:
            return JobState.STOPPING
        return JobState.RUNNING if counts.running or counts.stopping or counts.finished else JobState.STARTING
    if counts.pending or counts.delayed:
        return JobState.HELD if held else JobState.QUEUED
    if counts.gated:
        return JobState.HELD
    if counts.failed:
        return JobState.FAILED
    return JobState.CANCELLED if counts.cancelled else JobState.SUCCEEDED
