"""Amounts as Kubernetes writes them (`1500m`, `2Gi`), in our smallest units and back, and what a pod requests.

Guarantees: exact integers; what cannot be read counts as nothing of that resource, for a foreign pod may carry anything.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal, InvalidOperation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

GPU_RESOURCE = "nvidia.com/gpu"

_UNITS = {"n": Decimal(10) ** -9, "u": Decimal(10) ** -6, "m": Decimal(10) ** -3} | {
    prefix + binary: Decimal(1024 if binary else 1000) ** (power + 1) for power, prefix in enumerate("KMGTPE") for binary in ("", "i")
}
_UNITS["k"] = _UNITS.pop("K")
_OURS = {"cpu": ("cpu", 1000), "memory": ("memory", 1), "ephemeral-storage": ("disk", 1), GPU_RESOURCE: ("gpu", 1000), "pods": ("pods", 1)}


def quantity(text: Any) -> Decimal:
    """The number that a quantity stands for; 0 if it is none."""
    text = str(text)
    unit = next((unit for unit in ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei", *"numkMGTPE") if text.endswith(unit)), "")
    try:
        return Decimal(text.removesuffix(unit)) * _UNITS.get(unit, Decimal(1))
    except InvalidOperation:
        return Decimal(0)


def ours(resources: Mapping[str, Any] | None) -> Counter[str]:
    """`cpu` and `gpu` in thousandths, `memory` and `disk` in bytes, `pods`; other resources are not ours to count."""
    found: Counter[str] = Counter()
    for name, text in (resources or {}).items():
        if name in _OURS:
            ours, factor = _OURS[name]
            found[ours] = int(quantity(text) * factor)
    return found


def requested(pod: Mapping[str, Any]) -> Counter[str]:
    """What a pod takes from its node, one of its pods included: as the scheduler of Kubernetes counts it."""
    spec = pod["spec"]
    running: Counter[str] = Counter()
    first: Counter[str] = Counter()
    for container in spec.get("containers", ()):
        running.update(_requests(container))
    for container in spec.get("initContainers", ()):
        needs = _requests(container)
        if container.get("restartPolicy") == "Always":  # a sidecar stays
            running.update(needs)
        else:
            first |= needs
    total = running | first
    total.update(ours(spec.get("overhead")))
    total["pods"] += 1
    return total


def _requests(container: Mapping[str, Any]) -> Counter[str]:
    resources = container.get("resources", {})
    return ours({**resources.get("limits", {}), **resources.get("requests", {})})
