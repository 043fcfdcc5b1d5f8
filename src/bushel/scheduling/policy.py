"""What can be chosen about a plan, each with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """`starts_limit`: most elements one plan starts; the next plan goes on. `patience_seconds`: see `backfill`.
    `half_life_seconds`: past use counts half after so long. `reclaim`: whether elements are stopped for others, see `reclaim` (the
    live plane has it on); none before it has run for `least_run_seconds`, none that was stopped so `preemptions_limit` times. A plan
    stops others for at most `claims_limit` claims, each of one job; the next plan goes on.
    """

    starts_limit: int = 1000
    patience_seconds: float = 600.0
    half_life_seconds: float = 7 * 24 * 3600.0
    reclaim: bool = False
    least_run_seconds: float = 0.0
    preemptions_limit: int = 10
    claims_limit: int = 16
