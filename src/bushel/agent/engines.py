"""What an agent needs of the engine that runs its tasks, put together for each kind: processes of this machine, or pods.

Guarantees: the rest of the agent does not know which one it has.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from bushel.agent import inventory
from bushel.agent.config import BadConfiguration
from bushel.agent.devices import Devices
from bushel.agent.executors.local.cgroups import Limiter
from bushel.agent.executors.local.executor import LocalExecutor
from bushel.agent.lease import read_lease
from bushel.agent.requests import RequestMaker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from bushel.agent.config import AgentConfig
    from bushel.agent.engine_parts import Executor, Maker
    from bushel.agent.state import StateFolder
    from bushel.spec.agent import NodeReport

    Event = Callable[[str, str, dict[str, Any] | None], None]
    Found = dict[str, tuple[dict[str, Any], dict[str, Any] | None]]

    class OpenExecutor(Executor, Protocol):
        """An executor as the process of the agent sees it."""

        def open(self) -> Found: ...
        def listen(self) -> None: ...
        def close(self) -> None: ...


@dataclass(slots=True)
class Engine:
    """`nodes` are those known at the start; `follow_nodes` is given what is to be called with later ones. `epoch` is that of what was
    found."""

    executor: OpenExecutor
    maker: Maker
    devices: Devices
    nodes: Sequence[NodeReport]
    epoch: Callable[[], int | None]
    follow_nodes: Callable[[Callable[[Sequence[NodeReport], Sequence[NodeReport]], None]], None] = field(default=lambda _: None)


def make(config: AgentConfig, state: StateFolder, on_event: Event) -> Engine:
    """The engine that the configuration names.

    Raises:
        BadConfiguration: it cannot be used so.
        OSError: it cannot be reached.
    """
    return _kubernetes(config, state, on_event) if config.engine == "kubernetes" else _local(config, state, on_event)


def _local(config: AgentConfig, state: StateFolder, on_event: Event) -> Engine:
    nodes = inventory.nodes_of(config)
    limiter = Limiter.without_groups() if config.limits == "rlimits" else Limiter.detect(state.path)
    executor = LocalExecutor(state, on_event, limiter)
    maker = RequestMaker(config, state, _base_environment(config), {node.name: node.address for node in nodes})

    def epoch() -> int | None:
        lease = read_lease(state.path)
        return lease["epoch"] if lease else None

    return Engine(executor, maker, Devices(nodes), inventory.reports(nodes, executor.limiter.describe()), epoch)


def _kubernetes(config: AgentConfig, state: StateFolder, on_event: Event) -> Engine:
    """What the cluster keeps of the agent goes before what its folder says: the folder may be new."""
    from bushel.agent.executors.kubernetes import access, identity
    from bushel.agent.executors.kubernetes.api import Api, ApiError
    from bushel.agent.executors.kubernetes.executor import KubernetesExecutor
    from bushel.agent.executors.kubernetes.fleet import Fleet
    from bushel.agent.executors.kubernetes.nodes import NodeReporter
    from bushel.agent.executors.kubernetes.pods import PodMaker

    settings = config.kubernetes
    if settings is None:
        raise BadConfiguration('`kubernetes` is needed where `engine` is "kubernetes"')
    api = Api(access.from_kubeconfig(settings.kubeconfig) if settings.kubeconfig else access.from_pod())
    fleet = Fleet(config.cluster, settings.levels, config.labels)
    executor = KubernetesExecutor(api, state, config.cluster, fleet, on_event)
    reporter = NodeReporter(api, fleet, executor)
    try:
        state.incarnation, state.generation = identity.begin(api, settings.agent_namespace, config.cluster)
        reporter.start()
    except ApiError as error:
        raise BadConfiguration(f"the cluster refuses its agent: {error}") from error
    state.rebooted = False  # pods outlive the machine that their agent runs on
    maker = PodMaker(config, settings.namespace_prefix)
    return Engine(executor, maker, Devices(()), reporter.nodes, lambda: executor.epoch, reporter.follow)


def _base_environment(config: AgentConfig) -> dict[str, str]:
    passed = {name: os.environ[name] for name in config.pass_environment if name in os.environ}
    return {"PATH": os.defpath, **passed, **config.environment}
