"""How attempts end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.domain.failures import ENDINGS, TaskEnd, ended_for, judge
from bushel.domain.lifecycle import FailureClass as F
from bushel.domain.lifecycle import Outcome as Out
from bushel.domain.lifecycle import Reason as R


@pytest.mark.parametrize(
    ("tasks", "stop", "outcome", "failure", "reason"),
    [
        ([TaskEnd(0, 0)], None, Out.SUCCEEDED, None, None),
        ([TaskEnd(0, 1)], None, Out.FAILED, F.APPLICATION, R.EXIT_CODE),
        ([TaskEnd(0, 75)], None, Out.CHECKPOINTED, None, R.CHECKPOINTED),
        ([TaskEnd(0, signal=11)], None, Out.FAILED, F.APPLICATION, R.SIGNALLED),
        ([TaskEnd(0, signal=9)], None, Out.FAILED, F.UNKNOWN, R.SIGNALLED),
        ([TaskEnd(0, 137, 9, R.OUT_OF_MEMORY)], None, Out.FAILED, F.APPLICATION, R.OUT_OF_MEMORY),
        ([TaskEnd(0, 143, 15, R.TIME_LIMIT)], None, Out.FAILED, F.DEADLINE, R.TIME_LIMIT),
        ([TaskEnd(0, 75, None, R.TIME_LIMIT)], None, Out.CHECKPOINTED, None, R.CHECKPOINTED),
        ([TaskEnd(0, 0, None, R.TIME_LIMIT)], None, Out.FAILED, F.DEADLINE, R.TIME_LIMIT),
        ([TaskEnd(0, None, None, R.WORKDIR_FAILED)], None, Out.FAILED, F.DATA, R.WORKDIR_FAILED),
        ([TaskEnd(0, None, None, R.LEASE_EXPIRED)], None, Out.LOST, F.INFRASTRUCTURE, R.LEASE_EXPIRED),
        ([TaskEnd(0)], None, Out.LOST, F.INFRASTRUCTURE, R.TASK_LOST),
        ([], None, Out.LOST, F.INFRASTRUCTURE, R.TASK_LOST),
        ([], R.CANCELLED_BY_USER, Out.CANCELLED, F.CANCELLED, R.CANCELLED_BY_USER),
        ([TaskEnd(0, 0)], R.CANCELLED_BY_USER, Out.SUCCEEDED, None, None),
        ([TaskEnd(0, 0, None, R.CANCELLED_BY_USER)], R.CANCELLED_BY_USER, Out.SUCCEEDED, None, None),
        ([TaskEnd(0, 1)], R.CANCELLED_BY_USER, Out.CANCELLED, F.CANCELLED, R.CANCELLED_BY_USER),
        ([TaskEnd(0, 75)], R.CANCELLED_BY_USER, Out.CANCELLED, F.CANCELLED, R.CANCELLED_BY_USER),
        ([TaskEnd(0, 143)], R.PREEMPTED, Out.PREEMPTED, F.PREEMPTED, R.PREEMPTED),
        ([TaskEnd(0, 75)], R.PREEMPTED, Out.PREEMPTED, F.PREEMPTED, R.PREEMPTED),
        ([TaskEnd(0, 0, None, R.PREEMPTED)], R.PREEMPTED, Out.PREEMPTED, F.PREEMPTED, R.PREEMPTED),
        ([TaskEnd(0, 137, 9, R.OUT_OF_MEMORY)], R.PREEMPTED, Out.FAILED, F.APPLICATION, R.OUT_OF_MEMORY),
        ([TaskEnd(0, 75)], R.TIME_LIMIT, Out.CHECKPOINTED, None, R.CHECKPOINTED),
    ],
)
def test_an_end_means(tasks: list[TaskEnd], stop: R | None, outcome: Out, failure: F | None, reason: R | None) -> None:
    ending = judge(tasks, 1, stop)
    assert (ending.outcome, ending.failure, ending.reason) == (outcome, failure, reason)


ends = st.builds(
    TaskEnd,
    rank=st.integers(0, 5),
    exit_code=st.none() | st.sampled_from([0, 0, 1, 75, 137]),
    signal=st.none() | st.sampled_from([9, 11, 15]),
    reason=st.none() | st.sampled_from(list(R)),
)


@given(st.lists(ends, max_size=6), st.integers(1, 6), st.none() | st.sampled_from([R.CANCELLED_BY_USER, R.PREEMPTED, R.TIME_LIMIT]))
def test_success_takes_an_exit_code_of_0_from_every_rank(tasks: list[TaskEnd], task_count: int, stop: R | None) -> None:
    ending = judge(tasks, task_count, stop)
    if ending.outcome is Out.SUCCEEDED:
        assert {task.rank for task in tasks if task.exit_code == 0} >= set(range(task_count))
    elif ending.reason is not None:
        assert ending.outcome is ENDINGS[ending.reason][0]


@pytest.mark.parametrize("reason", list(R))
def test_every_reason_can_end_an_attempt_without_a_fault(reason: R) -> None:
    assert ended_for(reason).outcome is not Out.SUCCEEDED
