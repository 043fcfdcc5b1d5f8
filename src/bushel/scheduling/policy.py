"""What can be chosen about a plan, each with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """`starts_limit`: most elements one plan starts; the next plan goes on. `patience_seconds`: see `backfill`."""

    starts_limit: int = 1000
    patience_seconds: float = 600.0
