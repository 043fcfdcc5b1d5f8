"""Clusters whose agents fell silent: their attempts end as lost, so that their elements may run elsewhere.

Guarantees: nothing is given up before `lease_free_at`, by which the agent's side has ended it (see `domain.leases`); a renewal
that comes first wins. The epoch grows in one transaction, after which no report of the old one counts; the attempts follow in
batches, through the same code as reports, and a step that is cut off between them is taken up by the next.
"""

from __future__ import annotations

from bushel.control.fleet import operator_path
from bushel.control.reports import end_attempts
from bushel.domain.failpoints import reach
from bushel.domain.failures import ended_for
from bushel.domain.lifecycle import Reason
from bushel.store import attempts, clusters
from bushel.store.database import SCHEDULE, Database, Event
from bushel.store.leases import Lease

BATCH = 1000
ACTOR = "controller/leases"


def step(database: Database, lease: Lease) -> int:
    """Declare overdue clusters lost and end what they had. How many clusters and attempts that was."""
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
