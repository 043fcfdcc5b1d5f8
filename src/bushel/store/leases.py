"""Who leads, by name: a lease with an epoch, and the check that makes a stale leader harmless.

Guarantees: at most one holder has an unexpired lease of a name; each time it passes to somebody else its epoch grows. A
transaction that called `require_epoch` commits only while that epoch is the newest: it keeps a row lock that taking the
lease over must wait for (and that renewing need not). So a leader that was paused past its lease can do nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bushel.domain.errors import StaleEpoch
from bushel.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Lease:
    """What a holder knows of its lease. `holder` is unique to one start of one process; `since` is on its monotonic clock."""

    name: str
    holder: str
    epoch: int
    since: float = field(default_factory=time.monotonic, compare=False)

    def require(self, tx: Transaction) -> None:
        """Fence `tx`: it commits only if this lease is still the newest.

        Raises:
            StaleEpoch: somebody else holds it now.
        """
        require_epoch(tx, self.name, self.holder, self.epoch)


def acquire(tx: Transaction, name: str, holder: str, lease_seconds: float) -> Lease | None:
    """Take the lease if nobody has it, its holder let it run out, or the holder is the one who asks: who asks again acts no
    longer under the epoch before. None: somebody else has it."""
    tx.execute(
        "insert into leases (name, holder, epoch, expires_at) values (%s, '', 0, '-infinity') on conflict (name) do nothing",
        (name,),
    )
    # `for update` waits for every transaction that this lease fences; `now()` is from before the wait, so never too late.
    free = tx.first(
        "select epoch from leases where name = %s and (expires_at <= now() or holder = %s) for update skip locked", (name, holder)
    )
    if free is None:
        return None
    row = tx.one(
        """
        update leases set holder = %s, epoch = epoch + 1, expires_at = clock_timestamp() + make_interval(secs => %s)
        where name = %s
        returning epoch
        """,
        (holder, lease_seconds, name),
    )
    return Lease(name, holder, row["epoch"])


def renew(tx: Transaction, lease: Lease, lease_seconds: float) -> bool:
    """Hold the lease for `lease_seconds` from now. False: it has passed to somebody else."""
    row = tx.first(
        """
        update leases set expires_at = clock_timestamp() + make_interval(secs => %s)
        where name = %s and holder = %s and epoch = %s
        returning epoch
        """,
        (lease_seconds, lease.name, lease.holder, lease.epoch),
    )
    return row is not None


def release(tx: Transaction, lease: Lease) -> None:
    """Let go at once, so that a successor need not wait."""
    tx.execute(
        "update leases set expires_at = '-infinity' where name = %s and holder = %s and epoch = %s",
        (lease.name, lease.holder, lease.epoch),
    )


def require_epoch(tx: Transaction, name: str, holder: str, epoch: int) -> None:
    """Fence `tx`: it commits only if `holder` still leads under `epoch`.

    Raises:
        StaleEpoch: somebody else leads, or nobody of that name ever did.
    """
    row = tx.first(
        "select 1 as held from leases where name = %s and holder = %s and epoch = %s for key share",
        (name, holder, epoch),
    )
    if row is None:
        raise StaleEpoch(f"the lease {name!r} of epoch {epoch} has passed to somebody else")
