"""Telling the control plane what the nodes can take, as it changes.

Guarantees: nothing is told before both watches have seen everything, so no node looks freer than it is; what changes within
a moment is told together; a node that has gone ends what ran on it.
"""

from __future__ import annotations

import threading

from bushel.agent.executors.kubernetes.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from bushel.agent.executors.kubernetes.api import Api
    from bushel.agent.executors.kubernetes.executor import KubernetesExecutor
    from bushel.agent.executors.kubernetes.fleet import Fleet
    from bushel.spec.agent import NodeReport

FIRST_SECONDS = 60.0
_GATHER_SECONDS = 0.1


class NodeReporter:
    def __init__(self, api: Api, fleet: Fleet, executor: KubernetesExecutor) -> None:
        self._fleet = fleet
        self._executor = executor
        self._watch = Watch(api, "/api/v1/nodes", self._node_changed)
        self._changed = threading.Event()
        self._tell: Callable[[Sequence[NodeReport], Sequence[NodeReport]], None] | None = None
        self._thread = threading.Thread(target=self._run, name="node reporter", daemon=True)
        self.nodes: Sequence[NodeReport] = ()
        executor.usage_changed = self._changed.set

    def start(self) -> None:
        """See all nodes.

        Raises:
            OSError: they did not come.
        """
        self._watch.start()
        if not self._watch.synced.wait(FIRST_SECONDS):
            raise OSError(f"the cluster did not say which nodes it has within {FIRST_SECONDS:.0f} s")

    def follow(self, tell: Callable[[Sequence[NodeReport], Sequence[NodeReport]], None]) -> None:
        """Call `tell` with all nodes and those that have changed, from now on. Waits for the pods to be known.

        Raises:
            OSError: they did not come.
        """
        if not self._executor.watch.synced.wait(FIRST_SECONDS):
            raise OSError(f"the cluster did not say which pods it has within {FIRST_SECONDS:.0f} s")
        self._tell = tell
        self._changed.set()
        self._report()
        self._thread.start()

    def _node_changed(self, node: dict[str, Any], gone: bool) -> None:
        self._fleet.node_changed(node, gone)
        if gone:
            self._executor.node_gone(node["metadata"]["name"])
        self._changed.set()

    def _run(self) -> None:
        closing = threading.Event()
        while True:
            self._changed.wait()
            closing.wait(_GATHER_SECONDS)
            self._changed.clear()
            self._report()

    def _report(self) -> None:
        nodes, changed = self._fleet.news()
        if changed and self._tell is not None:
            self._tell(nodes, changed)
