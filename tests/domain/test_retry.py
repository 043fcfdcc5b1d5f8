"""Whether there is another attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.domain.lifecycle import FailureClass as F
from bushel.domain.lifecycle import Outcome as Out
from bushel.domain.retry import (
    BACKOFF_LIMIT_SECONDS,
    CHECKPOINT_PAUSE_LIMIT_SECONDS,
    CHECKPOINTS_LIMIT,
    LONG_ENOUGH_SECONDS,
    UNCOUNTED_ATTEMPTS_LIMIT,
    Again,
    Final,
    History,
    RetryPolicy,
    decide,
)

EVERYTHING = RetryPolicy(attempts=3, on=frozenset(F))


@pytest.mark.parametrize(
    ("outcome", "failure", "policy", "history", "expected"),
    [
        (Out.SUCCEEDED, None, EVERYTHING, History(), Final(Out.SUCCEEDED)),
        (Out.CANCELLED, F.CANCELLED, EVERYTHING, History(), Final(Out.CANCELLED)),
        (Out.FAILED, F.APPLICATION, RetryPolicy(), History(1), Final(Out.FAILED)),
        (Out.FAILED, F.APPLICATION, EVERYTHING, History(1), Again(10.0)),
        (Out.FAILED, F.APPLICATION, EVERYTHING, History(2), Again(20.0)),
        (Out.FAILED, F.APPLICATION, EVERYTHING, History(3), Final(Out.FAILED, exhausted=True)),
        (Out.LOST, F.INFRASTRUCTURE, RetryPolicy(), History(0, 50), Again(BACKOFF_LIMIT_SECONDS)),
        (Out.LOST, F.INFRASTRUCTURE, RetryPolicy(), History(0, UNCOUNTED_ATTEMPTS_LIMIT), Final(Out.FAILED, exhausted=True)),
        (Out.PREEMPTED, F.PREEMPTED, RetryPolicy(), History(0, 1), Again(0.0)),
        (Out.LOST, F.INFRASTRUCTURE, RetryPolicy(attempts=1), History(0, 1), Final(Out.FAILED)),
        (Out.CHECKPOINTED, None, RetryPolicy(), History(0, 0, 3), Again(0.0)),
        (Out.CHECKPOINTED, None, RetryPolicy(), History(0, 0, 4), Again(1.0)),
        (Out.CHECKPOINTED, None, RetryPolicy(), History(0, 0, 500), Again(CHECKPOINT_PAUSE_LIMIT_SECONDS)),
        (Out.CHECKPOINTED, None, RetryPolicy(), History(0, 0, CHECKPOINTS_LIMIT), Final(Out.FAILED, exhausted=True)),
        (Out.CHECKPOINTED, None, RetryPolicy(attempts=1), History(0, 0, 1), Final(Out.FAILED)),
    ],
)
def test_what_follows(outcome: Out, failure: F | None, policy: RetryPolicy, history: History, expected: Again | Final) -> None:
    assert decide(outcome, failure, policy, history) == expected


def test_who_worked_between_checkpoints_never_waits() -> None:
    assert decide(Out.CHECKPOINTED, None, RetryPolicy(), History(0, 0, 500), ran_seconds=LONG_ENOUGH_SECONDS) == Again(0.0)


@given(st.sampled_from([Out.FAILED, Out.LOST, Out.PREEMPTED]), st.sampled_from(list(F)), st.integers(1, 5))
def test_nothing_is_tried_for_ever(outcome: Out, failure: F, attempts: int) -> None:
    policy, counted, uncounted = RetryPolicy(attempts=attempts, on=frozenset(F)), 0, 0
    for _ in range(UNCOUNTED_ATTEMPTS_LIMIT + attempts):
        if failure in (F.INFRASTRUCTURE, F.PREEMPTED):
            uncounted += 1
        else:
            counted += 1
        if isinstance(decide(outcome, failure, policy, History(counted, uncounted)), Final):
            return
    raise AssertionError("no attempt was the last")
