"""What queues used in the past, kept for the order in which their jobs are served.

Guarantees: once a minute what each queue holds is added to what it used before, which halves every half-life
(`scheduling.fairness.history`); so a queue that used a lot goes later among equals, and in nothing else is it worse off. Between two
looks use is taken to be as it is at the second one: what comes and goes within a minute counts right on average. A leader that takes
over adds only the time since its predecessor's last look.
"""

from __future__ import annotations

from datetime import timedelta

from bushel.scheduling.fairness.history import decayed
from bushel.scheduling.policy import Policy
from bushel.store import queue_use
from bushel.store.database import SCHEDULE, Database
from bushel.store.leases import Lease

PERIOD_SECONDS = 60.0
_HALF_LIVES_KEPT = 20


def step(database: Database, lease: Lease) -> int:
    """Add what is held now, if the last look was a while ago."""
    half_life_seconds = Policy().half_life_seconds
    with database.transaction() as tx:
        lease.require(tx)
        last = queue_use.last_written(tx)
        since_seconds = PERIOD_SECONDS if last is None else min(PERIOD_SECONDS, (tx.now - last).total_seconds())
        held = queue_use.held(tx) if since_seconds > 0 else {}
        before = {row["queue_id"]: (row["amounts"], row["seconds"]) for row in queue_use.kept(tx, sorted(held))}
        now_seconds = tx.now.timestamp()
        used = {
            queue_id: decayed(
                before.get(queue_id, ({}, now_seconds)),
                now_seconds,
                half_life_seconds,
                {resource: amount * since_seconds for resource, amount in amounts.items()},
            )[0]
            for queue_id, amounts in held.items()
        }
        queue_use.write(tx, used)
        queue_use.forget(tx, tx.now - timedelta(seconds=_HALF_LIVES_KEPT * half_life_seconds))
        if used:
            tx.wake(SCHEDULE)
    return 0
