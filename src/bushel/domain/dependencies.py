"""What the end of one job means for the jobs that wait for it."""

from __future__ import annotations

from bushel.domain.lifecycle import TERMINAL_JOB_STATES, JobState

SUCCESS, FAILURE, END = "success", "failure", "end"

_MEETS = {
    SUCCESS: frozenset({JobState.SUCCEEDED}),
    FAILURE: frozenset({JobState.FAILED}),  # being cancelled is no failure
    END: TERMINAL_JOB_STATES,
}


def verdict(condition: str, state: JobState) -> bool | None:
    """Whether a job in `state` meets `condition`; None as long as it has not ended."""
    if state not in TERMINAL_JOB_STATES:
        return None
    return state in _MEETS[condition]
