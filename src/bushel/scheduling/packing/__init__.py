"""Completion-value packing: which node, and which device of it, a task takes.

Guarantees: nothing that fits is refused; equal demand and equal nodes give the same choice whatever the history, compiled or plain. What
the policy knows it learns from the demand (`learning`); `value` is the rule in scalars, `rows` keeps it current for a whole fleet.
"""

from __future__ import annotations

import time

_ready = False


def compile_ahead() -> float:
    """Compile all kernels of packing, or load them from the disk, by using each once. Returns the seconds it took."""
    global _ready
    started = time.monotonic()
    from bushel.scheduling.packing.rehearsal import rehearse

    rehearse()
    _ready = True
    return time.monotonic() - started


def ready() -> bool:
    """Whether the compiled kernels can serve without a pause."""
    return _ready
