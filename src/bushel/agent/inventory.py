"""The nodes that an agent speaks for: those of its configuration, or this machine as it is.

Guarantees: amounts are what a task can really get: the memory limit of our own control group counts, and the disk is
what is free now.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess

from bushel.agent.config import NodeConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bushel.agent.config import AgentConfig
    from bushel.spec.agent import NodeReport

_NVIDIA_SMI_TIMEOUT_SECONDS = 10.0


def nodes_of(config: AgentConfig) -> list[NodeConfig]:
    """The configured nodes, or this machine."""
    nodes = list(config.nodes) if config.nodes is not None else [this_machine(config.state_folder)]
    return [
        NodeConfig(node.name, node.capacity, {**config.labels, **node.labels}, node.topology, node.address, node.devices) for node in nodes
    ]


def reports(nodes: Sequence[NodeConfig], limits: Mapping[str, str]) -> list[NodeReport]:
    """What the control plane is told. `limits` says in words how limits are enforced."""
    detail: dict[str, object] = {
        "limits": dict(limits),
        "kernel": platform.release(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
    }
    return [
        {
            "name": node.name,
            "capacity": node.capacity,
            "labels": node.labels,
            "topology": list(node.topology) or [("host", node.name)],
            "state": "ready",
            "detail": {**detail, "address": node.address},
        }
        for node in nodes
    ]


def this_machine(state_folder: str) -> NodeConfig:
    """CPUs that we may use, memory, free disk below the state folder, and NVIDIA accelerators."""
    capacity = {
        "cpu": len(os.sched_getaffinity(0)) * 1000,
        "memory": _memory_bytes(),
        "disk": shutil.disk_usage(_existing(state_folder)).free,
    }
    devices: dict[str, list[str]] = {}
    for uuid, model in _nvidia_devices():
        devices.setdefault(model, []).append(uuid)
    for model, uuids in devices.items():
        capacity[f"gpu/{model}"] = len(uuids) * 1000
    name = socket.gethostname().partition(".")[0] or "localhost"
    return NodeConfig(name, capacity, devices={model: tuple(uuids) for model, uuids in devices.items()})


def _memory_bytes() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _memory_limit_files():
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdecimal():
            total = min(total, int(text))
    return total


def _memory_limit_files() -> list[str]:
    files = []
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.strip().split(":", 2)
            path = path.rstrip("/")
            if controllers == "":
                files.append(f"/sys/fs/cgroup{path}/memory.max")
            elif "memory" in controllers.split(","):
                files.append(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")
    return files


def _nvidia_devices() -> list[tuple[str, str]]:
    """UUID and short model, such as H100, of each."""
    if not os.path.exists("/proc/driver/nvidia/version"):
        return []
    try:
        output = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid,name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_NVIDIA_SMI_TIMEOUT_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    devices = []
    for line in output.splitlines():
        uuid, _, name = line.partition(", ")
        devices.append((uuid.strip(), short_model(name)))
    return devices


def short_model(name: str) -> str:
    """`NVIDIA H100 80GB HBM3` is an H100, `Tesla T4` a T4: the first word with a digit."""
    words = [word for word in name.replace("-", " ").split() if word not in ("NVIDIA", "Tesla", "GeForce", "Quadro")]
    return next((word for word in words if any(letter.isdigit() for letter in word)), words[0] if words else "gpu")


def _existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    return path
