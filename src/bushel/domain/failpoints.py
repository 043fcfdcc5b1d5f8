"""Named points between two effects, at which a test can kill the process.

Guarantees: without `BUSHEL_FAILPOINT` in the environment a point costs one comparison. With `name` or `name@3` the
process ends by SIGKILL the first or third time it gets there: no handler runs, nothing is flushed, as in a power cut.
"""

from __future__ import annotations

import os
import signal

_armed, _, _countdown = os.environ.get("BUSHEL_FAILPOINT", "").partition("@")
_remaining = int(_countdown or 1)


def reach(name: str) -> None:
    """Mark the point `name`, written `module.before_effect` or `module.after_effect`; a literal, so that a test can list them all."""
    if name != _armed:
        return
    global _remaining
    _remaining -= 1
    if _remaining == 0:
        os.kill(os.getpid(), signal.SIGKILL)
