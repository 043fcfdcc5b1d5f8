"""`plan(snapshot, now, policy)`: which elements start now, on which nodes, and what keeps every other one waiting.

Guarantees: a pure function; the same contents give the same plan, however the snapshot came about. No node and no device is
over-committed, no limit of a queue or an array passed, a gang starts whole or not at all, every constraint of a document
holds. An element waits only if a quota, the room left by those ahead of it, or nodes kept for one that waited long say so.

The rules, a module each: `order` who is next · `arrays` which indices · `quota` how much a queue may hold · `feasibility`
which nodes are allowed · `fit` and `gangs` which of them is taken · `backfill` what a large job that does not fit gets · `reclaim` who is
stopped for whom · `foresight` whether that is of use. `pass_over` puts them together; `workspace` keeps what the next plan can go on from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from bushel.scheduling.backfill import KeptFree
from bushel.scheduling.decisions import Cause, Eviction, Growth, Reservation, Start, Waiting
from bushel.scheduling.entities import ShapeClass
from bushel.scheduling.fairness import Shares
from bushel.scheduling.feasibility import NodeCount, count_obstacles
from bushel.scheduling.fit import Room
from bushel.scheduling.foresight import ROUNDS, following, pointless_in
from bushel.scheduling.pass_over import Pass
from bushel.scheduling.policy import Policy
from bushel.scheduling.quota import Ledger
from bushel.scheduling.reclaim import NOTHING_BARRED, Barred, Reclaimed
from bushel.scheduling.record import Starts, Waits
from bushel.scheduling.snapshot import Snapshot

__all__ = ["Cause", "Plan", "Policy", "Start", "Waiting", "plan"]


@dataclass(frozen=True)
class Plan:
    """`complete`: everything was looked at. `revisit_at_seconds`: when time alone would change the plan, in seconds since 1970.

    `shares` are those of every queue as the plan found them; where they decide nothing they are computed when they are first asked for,
    which must be before the snapshot changes. `room` and `ledger` are as they are once everything in this plan has started.
    """

    starts: Starts
    waiting: Waits
    kept_free: KeptFree | None
    complete: bool
    revisit_at_seconds: float | None
    snapshot: Snapshot = field(repr=False)
    room: Room = field(repr=False)
    ledger: Ledger = field(repr=False)
    made_by: Pass = field(repr=False)
    evictions: Sequence[Eviction] = ()
    reservations: Sequence[Reservation] = ()
    growths: Sequence[Growth] = ()

    @property
    def shares(self) -> Shares:
        return self.made_by.shares

    @cached_property
    def starting_jobs(self) -> dict[int, list[Start]]:
        found: dict[int, list[Start]] = {}
        for start in self.starts:
            found.setdefault(start.job_id, []).append(start)
        return found

    def obstacles(self, shape: ShapeClass) -> dict[str, tuple[NodeCount, ...]]:
        """For each group: why nodes cannot hold one more of its tasks, once everything in this plan has started."""
        return {group.name: count_obstacles(self.snapshot.fleet, shape, group, self.room) for group in shape.groups}


def plan(snapshot: Snapshot, now: datetime, policy: Policy) -> Plan:
    """Decide. Reads the snapshot, changes nothing in it that decides anything."""
    barred = NOTHING_BARRED
    for _ in range(ROUNDS):
        made, reclaimed = _plan(snapshot, now, policy, barred)
        if not reclaimed.evictions or reclaimed.certain:
            return made
        with following(made, now.timestamp()) as changed:
            then, _ = _plan(changed, now, policy, NOTHING_BARRED)
        pointless = pointless_in(then, snapshot, reclaimed)
        if not (pointless.spared or pointless.refused):
            return made
        barred = barred.plus(pointless)
    return _plan(snapshot, now, policy, Barred(everybody=True))[0]


def _plan(snapshot: Snapshot, now: datetime, policy: Policy, barred: Barred) -> tuple[Plan, Reclaimed]:
    made = Pass(snapshot, now.timestamp(), policy, barred)
    made.run()
    planned = Plan(
        made.starts(),
        made.waits(),
        made.kept_free,
        made.complete,
        made.revisit_at_seconds(),
        snapshot,
        made.room,
        made.ledger,
        made,
        made.reclaimed.evictions,
        made.reclaimed.reservations,
    )
    return planned, made.reclaimed
