"""A simulated job: where its elements are, by the very table that the control plane obeys.

Guarantees: every step of a job and of an attempt is checked against `domain.lifecycle`; whether an element that failed gets another
attempt is decided by `domain.retry`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from bushel.domain.lifecycle import (
    TERMINAL_JOB_STATES,
    AttemptState,
    ElementCounts,
    FailureClass,
    JobState,
    Outcome,
    check_attempt,
    check_job,
    job_state,
)
from bushel.domain.ranges import IndexRanges
from bushel.domain.retry import Again, Final, History, counts_against_owner, decide
from bushel.scheduling.entities import LiveAttempt
from bushel.simulation.trace import TraceJob


@dataclass(slots=True)
class Element:
    """What is remembered of one element between its attempts: work that is saved, and what its attempts came to."""

    saved_seconds: float = 0.0
    attempts: int = 0
    preemptions: int = 0
    history: History = field(default_factory=History)
    exclusions: tuple[int, ...] = ()


@dataclass(slots=True)
class Attempt:
    """One try. `work_from` is when it began to make progress; before that it starts and reads its checkpoint."""

    live: LiveAttempt
    number: int
    state: AttemptState
    placed_at: float
    work_from: float
    saved_before: float
    for_job: int | None = None

    def become(self, state: AttemptState) -> None:
        check_attempt(self.state, state)
        self.state = state

    def worked(self, now: float) -> float:
        return max(0.0, now - self.work_from)


class SimulatedJob:
    """`attempts` are the live ones, by index."""

    def __init__(self, job: TraceJob) -> None:
        self.job = job
        self.counts: Counter[str] = Counter(pending=job.elements)
        self.pending = IndexRanges(((0, job.elements),))
        self.state = JobState.QUEUED
        self.elements: dict[int, Element] = {}
        self.attempts: dict[int, Attempt] = {}
        self.first_start: float | None = None
        self.ended_at: float | None = None
        self.preemptions = 0
        self.attempts_made = 0
        self.lost_seconds = 0.0  # of one task; times the tasks it is what was lost

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL_JOB_STATES

    @property
    def startable(self) -> int:
        limit = self.job.array_limit
        waiting = self.counts["pending"]
        return waiting if limit is None else max(0, min(waiting, limit - len(self.attempts)))

    def move(self, source: str, target: str, count: int = 1) -> None:
        self.counts[source] -= count
        self.counts[target] += count

    def settle(self) -> None:
        after = job_state(ElementCounts(**self.counts), held=False, cancelling=False)
        check_job(self.state, after)
        self.state = after

    def start(self, live: LiveAttempt, now: float, start_seconds: float, restart_seconds: float) -> Attempt:
        element = self.elements.setdefault(live.index, Element())
        element.attempts += 1
        self.attempts_made += 1
        begins = now + start_seconds + (restart_seconds if element.saved_seconds else 0.0)
        attempt = Attempt(live, element.attempts, AttemptState.STARTING, now, begins, element.saved_seconds)
        self.attempts[live.index] = attempt
        self.pending = self.pending - IndexRanges(((live.index, live.index + 1),))
        self.move("pending", "starting")
        if self.first_start is None:
            self.first_start = now
        return attempt

    def run(self, attempt: Attempt) -> None:
        attempt.become(AttemptState.RUNNING)
        self.move("starting", "running")

    def stop(self, attempt: Attempt) -> None:
        """It is told to stop."""
        self.move(attempt.state.value, "stopping")
        attempt.become(AttemptState.STOPPING)
        attempt.live = replace(attempt.live, stopping=True)

    def end(self, attempt: Attempt, now: float, outcome: Outcome, failure: FailureClass | None, *, notice: bool) -> Again | Final:
        """It is over. What follows is the retry policy's; work since the last checkpoint is lost unless it succeeded."""
        index = attempt.live.index
        element, place = self.elements[index], attempt.state.value
        attempt.become(AttemptState.ENDED)
        del self.attempts[index]
        if outcome is not Outcome.SUCCEEDED:
            self._keep(element, attempt, now, notice=notice)
        if failure is not None:
            counted = counts_against_owner(failure)
            before = element.history
            element.history = replace(
                before,
                counted_failures=before.counted_failures + counted,
                uncounted_failures=before.uncounted_failures + (not counted),
            )
        if outcome is Outcome.PREEMPTED:
            element.preemptions += 1
            self.preemptions += 1
        found = decide(outcome, failure, self.job.retry, element.history, ran_seconds=now - attempt.placed_at)
        if isinstance(found, Again):
            self.move(place, "delayed" if found.after_seconds > 0 else "pending")
            if found.after_seconds <= 0:
                self.pending = self.pending | IndexRanges(((index, index + 1),))
        else:
            self.move(place, found.outcome.value)
            del self.elements[index]
        return found

    def due(self, index: int) -> None:
        """Its back-off has passed."""
        self.move("delayed", "pending")
        self.pending = self.pending | IndexRanges(((index, index + 1),))

    def _keep(self, element: Element, attempt: Attempt, now: float, *, notice: bool) -> None:
        worked, every = attempt.worked(now), self.job.checkpoint_seconds
        kept = 0.0
        if every is not None:
            kept = worked if notice and self.job.on_notice else (worked // every) * every if every else worked
        element.saved_seconds = attempt.saved_before + kept
        self.lost_seconds += worked - kept
        if every is None:
            self.lost_seconds += attempt.saved_before
            element.saved_seconds = 0.0
