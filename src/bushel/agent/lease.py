"""The lease as it lies on disk, where every task's shim reads it for itself.

Guarantees: what the file says is never later than what the control plane granted: it counts from the moment the request was
sent. A file that is missing, of another boot or of another epoch is a lease that has run out. A parked lease has no end. A full
disk does not keep a lease from being renewed: it is written over the last one, and whoever reads a part of it sees that.
"""

from __future__ import annotations

import json
import os
import time
import zlib

from bushel.agent.clock import boot_seconds
from bushel.agent.executors.local.folder import read, replace
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LEASE_FILE = "lease.json"

_READ_TRIES = 20
_READ_AGAIN_SECONDS = 0.001

PARKED_CHECK_SECONDS = 5.0
"""How often a parked lease is looked at again: an agent that comes back gives it an end first."""


def write_lease(state_folder: str, *, epoch: int, expires_boottime: float, lease_seconds: float, parked: bool, boot: str) -> None:
    """Replace the lease."""
    reach("lease.before_write")
    lease = {"epoch": epoch, "expires_boottime": expires_boottime, "lease_seconds": lease_seconds, "parked": parked, "boot_id": boot}
    replace(os.path.join(state_folder, LEASE_FILE), {**lease, "check": _check(lease)})
    reach("lease.after_write")


def read_lease(state_folder: str) -> dict[str, Any] | None:
    """None if there is none that is whole."""
    for _ in range(_READ_TRIES):
        lease = read(state_folder, LEASE_FILE)
        if lease is not None and lease.pop("check", None) == _check(lease):
            return lease
        if lease is None and not os.path.exists(os.path.join(state_folder, LEASE_FILE)):
            return None
        time.sleep(_READ_AGAIN_SECONDS)
    return None


def _check(lease: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(lease, sort_keys=True).encode())


def seconds_left(state_folder: str, epoch: int, boot: str) -> float:
    """How long a task of `epoch` may go on before it must look again; nothing or less when its lease has run out."""
    try:
        lease = read_lease(state_folder)
    except OSError:
        lease = None
    if lease is None or lease["epoch"] != epoch or lease["boot_id"] != boot:
        return 0.0
    return PARKED_CHECK_SECONDS if lease["parked"] else lease["expires_boottime"] - boot_seconds()
