"""Which accelerators of a node a task may see.

Guarantees: a device that is given whole is given to one task; a share of one goes to the device that carries the
fewest shares. A node without known devices (a posed one) gives none, and tasks' `CUDA_VISIBLE_DEVICES` is left alone;
on a node that has some, a task that asked for none sees none.
"""

from __future__ import annotations

from collections import Counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bushel.agent.config import NodeConfig

_PREFIX = "gpu/"


class Devices:
    def __init__(self, nodes: Iterable[NodeConfig]) -> None:
        self._known = {node.name: node.devices for node in nodes if node.devices}
        self._holders: Counter[tuple[str, str]] = Counter()

    def take(self, node: str, amounts: Mapping[str, int]) -> list[str] | None:
        """Devices for one task with these amounts; None where nothing is known of the node's."""
        if node not in self._known:
            return None
        taken: list[str] = []
        for name, milli in amounts.items():
            if name.startswith(_PREFIX):
                fewest_first = sorted(self._known[node].get(name.removeprefix(_PREFIX), ()), key=lambda device: self._holders[node, device])
                taken.extend(fewest_first[: max(1, milli // 1000)])
        self.hold(node, taken)
        return taken

    def hold(self, node: str, devices: Sequence[str]) -> None:
        for device in devices:
            self._holders[node, device] += 1

    def give_back(self, node: str, devices: Sequence[str]) -> None:
        for device in devices:
            self._holders[node, device] -= 1
