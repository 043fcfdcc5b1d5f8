"""Whether an element of a job gets another attempt, decided from how the last one ended.

Guarantees: a pure function of its arguments; a job whose policy says one attempt never runs twice, whatever happened;
failures of the platform and preemptions do not use up the owner's attempts, but are bounded too, so nothing loops for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bushel.domain.lifecycle import FailureClass, Outcome

UNCOUNTED_ATTEMPTS_LIMIT = 100
"""Most attempts that may end through the platform or preemption before the element fails for good."""

CHECKPOINTS_LIMIT = 10_000
"""Most times that one element may ask to be queued again by exit code 75."""

FREE_SHORT_CHECKPOINTS = 3
LONG_ENOUGH_SECONDS = 30.0
CHECKPOINT_PAUSE_LIMIT_SECONDS = 60.0
"""Who asks for the fourth time and did not run for long is made to wait, ever longer: it may be asking for ever."""

BACKOFF_LIMIT_SECONDS = 3600.0

_NOT_THE_OWNERS = frozenset({FailureClass.INFRASTRUCTURE, FailureClass.PREEMPTED})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    attempts: int = 3
    on: frozenset[FailureClass] = field(default=_NOT_THE_OWNERS)
    backoff_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class History:
    """What earlier attempts of one element came to, the one just ended included."""

    counted_failures: int = 0
    uncounted_failures: int = 0
    checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    after_seconds: float


@dataclass(frozen=True, slots=True)
class Final:
    outcome: Outcome
    exhausted: bool = False


def counts_against_owner(failure: FailureClass) -> bool:
    return failure not in _NOT_THE_OWNERS


def decide(
    outcome: Outcome, failure: FailureClass | None, policy: RetryPolicy, history: History, *, ran_seconds: float = 0.0
) -> Again | Final:
    """What follows an attempt that ended with `outcome`; `failure` is None for success, cancellation and exit code 75."""
    if outcome in (Outcome.SUCCEEDED, Outcome.CANCELLED):
        return Final(outcome)
    if policy.attempts == 1:
        return Final(Outcome.FAILED)
    if outcome is Outcome.CHECKPOINTED:
        if history.checkpoints >= CHECKPOINTS_LIMIT:
            return Final(Outcome.FAILED, exhausted=True)
        return Again(_checkpoint_pause_seconds(history.checkpoints, ran_seconds))
    failure = failure or FailureClass.UNKNOWN
    if failure not in policy.on:
        return Final(Outcome.FAILED)
    if counts_against_owner(failure):
        made, limit = history.counted_failures, policy.attempts
    else:
        made, limit = history.uncounted_failures, UNCOUNTED_ATTEMPTS_LIMIT
    if made >= limit:
        return Final(Outcome.FAILED, exhausted=True)
    if failure is FailureClass.PREEMPTED:
        return Again(0.0)
    return Again(min(policy.backoff_seconds * 2 ** min(made - 1, 20), BACKOFF_LIMIT_SECONDS) if made else policy.backoff_seconds)


def _checkpoint_pause_seconds(checkpoints: int, ran_seconds: float) -> float:
    extra = checkpoints - FREE_SHORT_CHECKPOINTS
    if extra <= 0 or ran_seconds >= LONG_ENOUGH_SECONDS:
        return 0.0
    return min(2.0 ** min(extra - 1, 20), CHECKPOINT_PAUSE_LIMIT_SECONDS)
