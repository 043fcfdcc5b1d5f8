"""Clusters whose agents fell silent: their attempts end as lost, so that their elements may run elsewhere.

Guarantees: nothing is given up before `lease_free_at`, by which the agent's side has ended it (see `domain.leases`); a renewal
that comes first wins. The epoch grows in one transaction, after which no report of the old one counts; the attempts follow in
batches, through the same code as reports, and a step that is cut off between them is taken up by the next. A new leader gives
nothing up before it has led for `return_grace_seconds`: while nobody led, nobody may have listened either, and an agent whose tasks
ended within their lease is to be heard first.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bushel.control.fleet import operator_path
from bushel.control.reports import end_attempts
from bushel.domain.failpoints import reach
from bushel.domain.failures import ended_for
from bushel.domain.leases import return_grace_seconds
from bushel.domain.lifecycle import Reason
from bushel.store import attempts, clusters
from bushel.store.database import SCHEDULE, Database, Event
from bushel.store.leases import Lease

BATCH = 1000
ACTOR = "controller/leases"


def start(lease_seconds: float, database: Database, lease: Lease) -> Callable[[], int]:
    """The step of one term, where agents are given leases of `lease_seconds`."""
    grace_seconds = return_grace_seconds(lease_seconds)
    return lambda: step(database, lease, time.monotonic(), grace_seconds)


def step(database: Database, lease: Lease, now: float, grace_seconds: float) -> int:
    """Declare overdue clusters lost, unless the lease is younger than the grace; end what lost ones had. How many clusters and
    attempts that was. `now` is on the clock of `lease.since`."""
    silent: list[int] = []
    if now - lease.since >= grace_seconds:
        with database.transaction() as tx:
            silent = clusters.silent(tx, BATCH)
    done = sum(_lose(database, lease, cluster_id) for cluster_id in silent)
    with database.transaction() as tx:
        left = clusters.with_old_attempts(tx)
    return done + sum(_end_old(database, lease, cluster_id) for cluster_id in left)


def _lose(database: Database, lease: Lease, cluster_id: int) -> int:
    with database.transaction() as tx:
        lease.require(tx)
        lost = clusters.lose(tx, cluster_id)
        if lost is None:
            return 0
        tx.emit(Event("cluster.lost", operator_path(tx), f"cluster/{lost['name']}", ACTOR, {"epoch": lost["epoch"]}))
        tx.wake(SCHEDULE)
        reach("leases.before_lost")
    reach("leases.after_lost")
    return 1


def _end_old(database: Database, lease: Lease, cluster_id: int) -> int:
    with database.transaction() as tx:
        lease.require(tx)
        keys = attempts.of_old_epochs(tx, cluster_id, BATCH)
        return end_attempts(tx, keys, ACTOR, ended_for(Reason.LEASE_EXPIRED, "the agent of its cluster fell silent"))
