"""Amounts of hardware, as integers in their smallest unit.

Guarantees: every amount is an exact integer: CPU and accelerators in thousandths, memory and disk in bytes. An
accelerator resource is named after its model, `gpu/H100`; a request that names no model may be met by any.
"""

from __future__ import annotations

from dataclasses import dataclass

CPU = "cpu"
MEMORY = "memory"
DISK = "disk"
GPU_PREFIX = "gpu/"

Amounts = dict[str, int]
"""Resource name → amount in its smallest unit. A name that is absent means none of it."""


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """What one task needs. `gpu_models` is in order of preference; empty means any model."""

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int = 0
    gpu_milli: int = 0
    gpu_models: tuple[str, ...] = ()

    def amounts(self, gpu_model: str | None = None) -> Amounts:
        """What this takes of a node when its accelerators are of `gpu_model`."""
        amounts = {CPU: self.cpu_milli, MEMORY: self.memory_bytes, DISK: self.disk_bytes}
        if self.gpu_milli:
            if gpu_model is None:
                raise ValueError("a request for accelerators has no amounts until a model is chosen")
            amounts[GPU_PREFIX + gpu_model] = self.gpu_milli
        return {name: amount for name, amount in amounts.items() if amount}


def gpu_models(capacity: Amounts) -> list[str]:
    """The accelerator models that a node has."""
    return sorted(name.removeprefix(GPU_PREFIX) for name in capacity if name.startswith(GPU_PREFIX))
