"""Completion-value packing: which node, and which device of it, a task takes.

Guarantees: nothing that fits is refused; equal demand and equal nodes give the same choice whatever the history, compiled or plain. What
the policy knows it learns from the demand (`learning`); `value` is the rule in scalars, `rows` keeps it current for a whole fleet.
"""

from __future__ import annotations

_ready = False


def compile_ahead() -> None:
    """Compile all kernels of packing, or load them from the disk, by using each once: seconds when nothing is on the disk yet."""
    global _ready
    from bushel.scheduling.packing.rehearsal import rehearse

    rehearse()
    _ready = True


def ready() -> bool:
    """Whether the compiled kernels can serve without a pause."""
    return _ready
