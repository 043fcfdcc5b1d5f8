"""Which accelerators of a node a task may see.

Guarantees: where the placement names the devices of a task it sees exactly those; where it names none, a whole device
is given to one task, and a share goes to the device that carries the fewest. A node without known devices (a posed one)
gives none, and tasks' `CUDA_VISIBLE_DEVICES` is left alone; on a node that has some, a task that asked for none sees none.
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

    def take(self, node: str, amounts: Mapping[str, int], chosen: Sequence[int] | None = None) -> list[str] | None:
        """Devices for one task with these amounts, `chosen` of them if given; None where nothing is known of the node's.

        Raises:
            ValueError: the node has no such device.
        """
        if node not in self._known:
            return None
        taken: list[str] = []
        for name, milli in amounts.items():
            if name.startswith(_PREFIX):
                taken.extend(self._freest(node, name, milli) if chosen is None else self._named(node, name, chosen))
        self.hold(node, taken)
        return taken

    def _named(self, node: str, name: str, chosen: Sequence[int]) -> list[str]:
        devices = self._known[node].get(name.removeprefix(_PREFIX), ())
        if missing := [number for number in chosen if number >= len(devices)]:
            raise ValueError(f"node {node} has {len(devices)} of {name}, and no number {missing[0]} counted from 0")
        return [devices[number] for number in chosen]

    def _freest(self, node: str, name: str, milli: int) -> list[str]:
        devices = self._known[node].get(name.removeprefix(_PREFIX), ())
        return sorted(devices, key=lambda device: self._holders[node, device])[: max(1, milli // 1000)]

    def hold(self, node: str, devices: Sequence[str]) -> None:
        for device in devices:
            self._holders[node, device] += 1

    def give_back(self, node: str, devices: Sequence[str]) -> None:
        for device in devices:
            self._holders[node, device] -= 1
