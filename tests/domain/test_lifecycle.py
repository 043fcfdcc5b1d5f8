"""The tables of states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.domain.errors import Conflict
from bushel.domain.lifecycle import (
    ATTEMPT_TRANSITIONS,
    JOB_TRANSITIONS,
    TERMINAL_JOB_STATES,
    AttemptState,
    ElementCounts,
    JobState,
    check_attempt,
    check_job,
    job_state,
)

counts = st.builds(ElementCounts, **{name: st.integers(0, 2) for name in ElementCounts.__slots__}).filter(lambda some: some.total > 0)


def test_the_terminal_states_are_three_and_none_can_be_left() -> None:
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == TERMINAL_JOB_STATES
    for state in TERMINAL_JOB_STATES:
        for other in set(JobState) - {state}:
            with pytest.raises(Conflict):
                check_job(state, other)
    for other in set(AttemptState) - {AttemptState.ENDED}:
        with pytest.raises(Conflict):
            check_attempt(AttemptState.ENDED, other)


def test_every_state_has_a_row_and_can_be_reached() -> None:
    assert set(JOB_TRANSITIONS) == set(JobState)
    assert set(ATTEMPT_TRANSITIONS) == set(AttemptState)
    assert set().union(*JOB_TRANSITIONS.values()) == set(JobState)


@given(counts, st.booleans(), st.booleans())
def test_a_job_is_terminal_exactly_when_no_element_can_move(where: ElementCounts, held: bool, cancelling: bool) -> None:
    done = where.pending == where.delayed == where.gated == where.live == 0
    assert (job_state(where, held=held, cancelling=cancelling) in TERMINAL_JOB_STATES) == done


@given(counts)
def test_a_job_is_starting_only_before_anything_of_it_ran(where: ElementCounts) -> None:
    """docs/concepts/lifecycle.md#states-of-a-job"""
    ran = where.running + where.stopping + where.succeeded + where.failed + where.cancelled
    assert (job_state(where, held=False, cancelling=False) is JobState.STARTING) == (where.starting > 0 and not ran)


@given(counts, st.booleans())
def test_a_job_with_a_failed_element_never_ends_as_a_success(where: ElementCounts, held: bool) -> None:
    assert job_state(where, held=held, cancelling=False) is not JobState.SUCCEEDED or not where.failed
