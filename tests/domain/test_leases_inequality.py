"""docs/concepts/guarantees.md#leases: the agent's side has stopped before the control plane acts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bushel.domain.leases import KILL_SECONDS, RATE_ERROR, longest_poll_seconds, server_wait_seconds

seconds = st.floats(0, 1e6, allow_nan=False)
rates = st.floats(1 - RATE_ERROR, 1 + RATE_ERROR)


@given(sent_at=seconds, delay=seconds, lease=st.floats(0.1, 3600), agent_rate=rates, server_rate=rates, killing=st.floats(0, KILL_SECONDS))
def test_tasks_have_ended_before_the_control_plane_may_start_them_elsewhere(
    sent_at: float, delay: float, lease: float, agent_rate: float, server_rate: float, killing: float
) -> None:
    """All times are true times; a clock of rate 0.99 counts 99 seconds in 100."""
    dead_at = sent_at + (lease + killing) / agent_rate
    received_at = sent_at + delay
    acts_at = received_at + server_wait_seconds(lease) / server_rate
    assert dead_at <= acts_at * (1 + 1e-12)


@given(lease=st.floats(1, 3600))
def test_two_answers_may_be_lost_before_the_lease_runs_out(lease: float) -> None:
    assert 3 * longest_poll_seconds(lease) <= lease * (1 + 1e-12)
