"""Hierarchical fair shares: what every queue has a right to now, which jobs are within it, who goes first and who gives way.

A module a rule:

- `tree` the queues as arrays, guarantees, ceilings and what is withheld; `validation` what is wrong with them
- `demand` what jobs want, and `flavors` which hardware they want it of when several would do
- `water`, `allotment` how one resource is divided down the tree; `filling` how far jobs of several resources are served
- `rounding` whole units; `entitlement` all of it, brought up to date; `shares` the outcome with who lends and who borrows
- `charges` whether one more fits; `standings` ranks of whole jobs; `history` past use

`FairShares.update` gives `Shares`; a plan makes `Charges` and `Standings` of them and tells both what it starts and stops.
"""

from bushel.scheduling.fairness.charges import Charges, Obstacle
from bushel.scheduling.fairness.demand import Demand
from bushel.scheduling.fairness.entitlement import FairShares
from bushel.scheduling.fairness.history import decayed
from bushel.scheduling.fairness.shares import Share, Shares
from bushel.scheduling.fairness.standings import NEVER, ONE, Claim, Job, Standings
from bushel.scheduling.fairness.validation import TreeProblem, problems_of

__all__ = [
    "NEVER", "ONE", "Charges", "Claim", "Demand", "FairShares", "Job", "Obstacle", "Share", "Shares", "Standings", "TreeProblem", "decayed",
    "problems_of",
]  # fmt: skip
