"""How long the control plane waits before it may believe that a silent agent's tasks have ended.

Guarantees: once `server_wait_seconds(lease)` have passed on the database's clock since it received an agent's last
renewal, every task of that agent has been killed, however long the message was under way, while no clock runs wrong by
more than the fraction `RATE_ERROR`.

Derivation. The agent sends its renewal at the true time s; the control plane writes it down at r ≥ s. Let ρ be `RATE_ERROR`,
L the lease and K `KILL_SECONDS`.

1. The agent's side counts L from s on its own clock, not from the answer, then has at most K more to kill what is left.
   A clock that runs slow by ρ needs (L + K) / (1 − ρ) true seconds for that, so all is dead by s + (L + K) / (1 − ρ).
2. The control plane waits W on its clock from r. A clock that runs fast by ρ lets W / (1 + ρ) true seconds pass, so it acts
   no earlier than r + W / (1 + ρ).
3. Since r ≥ s, (L + K) / (1 − ρ) ≤ W / (1 + ρ) is enough, that is (L + K) · (1 + ρ) ≤ W · (1 − ρ).

It rests on three things: the agent's clock is one that goes on while the machine sleeps (CLOCK_BOOTTIME); each task is watched by
a process of its own, which counts by itself when the agent is dead or frozen; and the database server's clock is slewed,
not stepped, after a correction, as NTP daemons do by default once the machine is up.
"""

from __future__ import annotations

LEASE_SECONDS_DEFAULT = 30.0

KILL_SECONDS = 5.0
"""From the end of the lease on the agent's clock to the death of its last task: a short SIGTERM, then SIGKILL of the tree."""

RATE_ERROR = 0.01
"""Largest fraction by which a clock may run fast or slow. Quartz is within 0.0001, an NTP slew within 0.0005."""

WAIT_FRACTION = 1 / 3
"""A poll is answered within this part of the lease, so that two answers may be lost before it runs out."""


RETURN_GRACE_SECONDS = 10.0
"""So long a new leader declares nothing lost: while the whole control plane was down the agents could not say what ended within
their leases. Five times the longest pause between an agent's tries."""


def return_grace_seconds(lease_seconds: float) -> float:
    """How long a leader has led before it declares anything lost; less where leases are shorter than that."""
    return min(RETURN_GRACE_SECONDS, lease_seconds)


def server_wait_seconds(lease_seconds: float) -> float:
    """The smallest W of the derivation: from the receipt of a renewal until its attempts may be declared lost."""
    return (lease_seconds + KILL_SECONDS) * (1 + RATE_ERROR) / (1 - RATE_ERROR)


def longest_poll_seconds(lease_seconds: float) -> float:
    """How long an answer with nothing to say may be held back."""
    return lease_seconds * WAIT_FRACTION
