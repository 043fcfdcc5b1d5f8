"""What an agent is told about itself, in one JSON or TOML file.

Fields (relative paths start from the file's folder):

- `url`, `token_file`, `ca_file`: the control plane, and what proves that it is talking to the right one.
- `cluster`, `site`: what it poses as.
- `state_folder`: all that it keeps. One agent, one folder.
- `nodes`: `"auto"` for this machine as it is, or a list of `{"name", "capacity", "labels", "topology", "address", "devices"}`. Capacity is
  in smallest units: `{"cpu": 4000, "memory": 8589934592, "gpu/H100": 8000}`; any amounts may be claimed. `devices` maps a GPU
  model to what `CUDA_VISIBLE_DEVICES` may be given from it; `address` is where other nodes reach it, default 127.0.0.1.
- `labels`: added to each node.
- `limits`: `"auto"` for control groups where they can be had, `"rlimits"` to do without them.
- `log_spool_bytes`: how much unsent output of one task is kept, default 64 MiB.
- `engine`: `"local"`, or `"kubernetes"`: then tasks run as pods, `nodes` and `limits` are not used, and `kubernetes` says where:
  `{"kubeconfig", "namespace_prefix", "agent_namespace", "levels", "annotations"}`. Without `kubeconfig` the agent signs in as the
  service account of its own pod. `levels` maps topology levels to node labels, outermost first;
  `annotations` lists labels of jobs that their pods get as annotations.
- `environment`: variables given to every task.
- `pass_environment`: names of the agent's own variables that tasks get as well.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field
from typing import Any

LOG_SPOOL_DEFAULT_BYTES = 64 * 1024 * 1024

PASSED_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR", "VIRTUAL_ENV")
"""What a task sees of the agent's own environment, unless the configuration says otherwise. Tokens are not in it."""


class BadConfiguration(Exception):
    """The file cannot be used. The text says which field and why."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    name: str
    capacity: dict[str, int]
    labels: dict[str, str] = field(default_factory=dict)
    topology: tuple[tuple[str, str], ...] = ()
    address: str = "127.0.0.1"
    devices: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KubernetesConfig:
    kubeconfig: str | None = None  # None: the pod that the agent runs in
    namespace_prefix: str = "bushel-"
    agent_namespace: str = "bushel-system"
    levels: dict[str, str] = field(default_factory=lambda: {"zone": "topology.kubernetes.io/zone"})
    annotations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentConfig:
    url: str
    token_file: str
    cluster: str
    state_folder: str
    site: str = ""
    ca_file: str | None = None
    nodes: tuple[NodeConfig, ...] | None = None  # None: this machine as it is
    labels: dict[str, str] = field(default_factory=dict)
    limits: str = "auto"
    log_spool_bytes: int = LOG_SPOOL_DEFAULT_BYTES
    engine: str = "local"
    kubernetes: KubernetesConfig | None = None
    environment: dict[str, str] = field(default_factory=dict)
    pass_environment: tuple[str, ...] = PASSED_ENVIRONMENT


def load(path: str) -> AgentConfig:
    """Read a configuration file.

    Raises:
        BadConfiguration: it is missing, malformed, or lacks a field.
    """
    try:
        with open(path, "rb") as file:
            raw = tomllib.load(file) if path.endswith(".toml") else json.load(file)
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"{path}: {error}") from error
    return parse(raw, os.path.dirname(os.path.abspath(path)))


def parse(raw: Any, folder: str) -> AgentConfig:
    """As `load`, from the parsed document; relative paths start from `folder`.

    Raises:
        BadConfiguration: a field is missing, unknown or of the wrong kind.
    """
    if not isinstance(raw, dict):
        raise BadConfiguration("the configuration must be an object")
    known = set(AgentConfig.__dataclass_fields__)
    for name in raw:
        if name not in known:
            raise BadConfiguration(f"there is no field {name!r}; there are {', '.join(sorted(known))}")
    for name in ("url", "token_file", "cluster", "state_folder"):
        if not isinstance(raw.get(name), str) or not raw[name]:
            raise BadConfiguration(f"the field {name!r} is needed: a text")
    if raw.get("limits", "auto") not in ("auto", "rlimits"):
        raise BadConfiguration('`limits` must be "auto" or "rlimits"')
    engine = raw.get("engine", "local")
    if engine not in ("local", "kubernetes"):
        raise BadConfiguration('`engine` must be "local" or "kubernetes"')
    nodes = raw.get("nodes", "auto")
    ca_file = raw.get("ca_file")
    return AgentConfig(
        url=raw["url"],
        token_file=os.path.join(folder, raw["token_file"]),
        cluster=raw["cluster"],
        state_folder=os.path.join(folder, raw["state_folder"]),
        site=raw.get("site") or "",
        ca_file=os.path.join(folder, ca_file) if ca_file else None,
        nodes=None if nodes == "auto" else _nodes(nodes),
        labels=_texts(raw.get("labels", {}), "labels"),
        limits=raw.get("limits", "auto"),
        log_spool_bytes=int(raw.get("log_spool_bytes", LOG_SPOOL_DEFAULT_BYTES)),
        engine=engine,
        kubernetes=_kubernetes(raw.get("kubernetes", {}), folder) if engine == "kubernetes" else None,
        environment=_texts(raw.get("environment", {}), "environment"),
        pass_environment=tuple(raw.get("pass_environment", PASSED_ENVIRONMENT)),
    )


def _kubernetes(raw: Any, folder: str) -> KubernetesConfig:
    if not isinstance(raw, dict):
        raise BadConfiguration("`kubernetes` must be an object")
    known = KubernetesConfig.__dataclass_fields__
    for name in raw:
        if name not in known:
            raise BadConfiguration(f"kubernetes/{name}: there is no such field; there are {', '.join(sorted(known))}")
    usual = KubernetesConfig()
    kubeconfig = raw.get("kubeconfig")
    annotations = raw.get("annotations", ())
    if not isinstance(annotations, list | tuple):
        raise BadConfiguration("kubernetes/annotations: must be a list of texts")
    return KubernetesConfig(
        kubeconfig=os.path.join(folder, kubeconfig) if kubeconfig else None,
        namespace_prefix=str(raw.get("namespace_prefix", usual.namespace_prefix)),
        agent_namespace=str(raw.get("agent_namespace", usual.agent_namespace)),
        levels=_texts(raw.get("levels", usual.levels), "kubernetes/levels"),
        annotations=tuple(map(str, annotations)),
    )


def _nodes(raw: Any) -> tuple[NodeConfig, ...]:
    if not isinstance(raw, list) or not raw:
        raise BadConfiguration('`nodes` must be "auto" or a list of nodes')
    nodes = []
    for number, node in enumerate(raw):
        if not isinstance(node, dict) or not isinstance(node.get("name"), str) or not isinstance(node.get("capacity"), dict):
            raise BadConfiguration(f"nodes/{number}: a node needs a name and a capacity")
        nodes.append(
            NodeConfig(
                name=node["name"],
                capacity={str(name): int(amount) for name, amount in node["capacity"].items()},
                labels=_texts(node.get("labels", {}), f"nodes/{number}/labels"),
                topology=tuple((str(level), str(place)) for level, place in node.get("topology", ())),
                address=node.get("address", "127.0.0.1"),
                devices={model: tuple(map(str, devices)) for model, devices in node.get("devices", {}).items()},
            )
        )
    return tuple(nodes)


def _texts(raw: Any, where: str) -> dict[str, str]:
    if not isinstance(raw, dict):
        raise BadConfiguration(f"{where}: must be an object of texts")
    return {str(name): str(value) for name, value in raw.items()}
