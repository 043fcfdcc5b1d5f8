"""The clusters whose agents run on this machine: the machine itself, and any that it poses as.

Guarantees: a cluster's agent is bound to it by a token of its own, written once to a 0600 file; a registration that was cut
short is taken up again and yields the same cluster; a removed cluster's agent has stopped before its folder goes.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bushel.domain.errors import BushelError, Conflict, FieldProblem, InvalidDocument, NotFound, Unavailable
from bushel.domain.failpoints import reach
from bushel.domain.resources import CPU, GPU_PREFIX, MEMORY
from bushel.installation.control_plane import ControlPlane
from bushel.installation.home import Home, Settings, write_private
from bushel.installation.supervision import reload

LOCAL_SITE = "local"
READY_SECONDS = 20.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Pose:
    """What a posed cluster claims to be: equal nodes. `topology` maps a level to the places that its nodes are spread over."""

    nodes: int = 1
    cpu_milli: int = 4000
    memory_bytes: int = 8 * 2**30
    gpu: tuple[str, int] | None = None  # model, thousandths
    labels: dict[str, str] = field(default_factory=dict)
    topology: dict[str, Sequence[str]] = field(default_factory=dict)

    def documents(self, cluster: str) -> list[dict[str, Any]]:
        """The nodes as an agent is told of them."""
        capacity = {CPU: self.cpu_milli, MEMORY: self.memory_bytes}
        if self.gpu:
            capacity[GPU_PREFIX + self.gpu[0]] = self.gpu[1]
        made = []
        for number in range(self.nodes):
            name = f"{cluster}-n{number + 1}"
            places = [(level, names[number * len(names) // self.nodes]) for level, names in self.topology.items()]
            made.append({"name": name, "capacity": capacity, "labels": self.labels, "topology": [*places, ("host", name)]})
        return made


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """A cluster whose agent runs here and reaches its API server by `kubeconfig`. Pods get those labels of their
    jobs that `annotations` names, as annotations."""

    kubeconfig: str
    annotations: Sequence[str] = ()

    def check(self) -> None:
        """See that the cluster answers, before anything is made.

        Raises:
            InvalidDocument: the kubeconfig file cannot be used.
            Unavailable: the cluster does not answer.
        """
        from bushel.agent.config import BadConfiguration
        from bushel.agent.executors.kubernetes.access import from_kubeconfig
        from bushel.agent.executors.kubernetes.api import Api, ApiError

        try:
            Api(from_kubeconfig(self.kubeconfig)).request("GET", "/version", patience_seconds=0.0)
        except BadConfiguration as error:
            raise InvalidDocument([FieldProblem("kubeconfig", str(error).removeprefix("`kubernetes.kubeconfig`: "))]) from error
        except (ApiError, OSError) as error:
            raise Unavailable(f"{self.kubeconfig}: {error}", suggestion=f"kubectl --kubeconfig {self.kubeconfig} version") from error

    def document(self) -> dict[str, Any]:
        """What the agent is told of it."""
        return {"kubeconfig": os.path.abspath(self.kubeconfig), "annotations": list(self.annotations)}


def local_name() -> str:
    """This machine's name as a cluster's."""
    name = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")[:63]
    return name or "machine"


def add(
    home: Home,
    settings: Settings,
    name: str,
    site: str,
    *,
    jurisdiction: str = "",
    pose: Pose | None = None,
    kubernetes: Kubernetes | None = None,
) -> None:
    """Make a cluster and start its agent. Without a pose, and not of Kubernetes, it is this machine as it is.

    Raises:
        Conflict: there is such a cluster already.
        InvalidDocument: the name is not one.
    """
    if not _NAME.fullmatch(name):
        raise InvalidDocument([FieldProblem("", f"{name!r} is no name of a cluster", suggestion="use a-z, 0-9 and -, at most 63")])
    folder = home.agents / name
    if (folder / "agent.json").exists():
        raise Conflict(f"the agent of {name} runs here already", suggestion=f"bushel cluster get {name}")
    if kubernetes:
        kubernetes.check()
    folder.mkdir(mode=0o700, exist_ok=True)
    key_file = folder / "registration"
    if not key_file.exists():  # the key outlives a crash, so that asking again gives the same cluster and the same token
        write_private(key_file, secrets.token_hex(16))
    plane = ControlPlane(home, settings)
    plane.make_site(site, jurisdiction)
    try:
        engine = "kubernetes" if kubernetes else "local"
        token = plane.make_cluster(name, site, key=key_file.read_text().strip(), engine=engine)
    except BushelError:
        shutil.rmtree(folder)
        raise
    reach("clusters.before_token_file")
    write_private(folder / "agent.token", token + "\n")
    reach("clusters.after_token_file")
    config = {
        "url": settings.url,
        "token_file": "agent.token",
        "ca_file": settings.tls_certificate,
        "cluster": name,
        "site": site,
        "state_folder": "state",
    }
    if kubernetes:
        config |= {"engine": "kubernetes", "kubernetes": kubernetes.document()}
    else:
        config["nodes"] = pose.documents(name) if pose else "auto"
    write_private(folder / "agent.json", json.dumps(config, indent=2) + "\n")
    reload(home)


def ensure_local(home: Home, settings: Settings) -> str:
    """This machine as a cluster of the site `local`, made at the first start. Returns its name."""
    for name in home.cluster_names():
        if config(home, name).get("nodes") == "auto":
            return name
    name = local_name()
    add(home, settings, name, LOCAL_SITE)
    return name


def remove(home: Home, settings: Settings, name: str) -> None:
    """Stop a cluster's agent and take the cluster out of the fleet.

    Raises:
        NotFound: no agent of that name runs here.
    """
    folder = home.agents / name
    if not (folder / "agent.json").exists():
        raise NotFound(f"no agent of a cluster {name} runs here", suggestion="bushel cluster ls")
    ControlPlane(home, settings).remove_cluster(name)
    (folder / "agent.json").rename(folder / "agent.json.removed")
    reload(home)
    part = f"agent-{name}"
    deadline = time.monotonic() + READY_SECONDS
    while any(one["name"] == part and one["pid"] for one in home.status().get("parts", ())) and home.supervised():
        if time.monotonic() > deadline:
            raise Unavailable(f"the agent of {name} does not stop", suggestion=f"look into {home.part_logs / part}.log")
        time.sleep(0.02)
    shutil.rmtree(folder)


def config(home: Home, name: str) -> dict[str, Any]:
    return json.loads((home.agents / name / "agent.json").read_text())


def ready_words(home: Home, settings: Settings, name: str) -> str | None:
    """`ready   site local · cluster laptop · 8 cpu · 31 GiB · no gpu` once the agent holds its lease; None before."""
    plane = ControlPlane(home, settings)
    if not holds_lease(plane.cluster(name)):
        return None
    nodes = plane.nodes(name)
    if not nodes:
        return None
    return f"ready   site {config(home, name)['site']} · cluster {name} · {capacity_words([node['capacity'] for node in nodes])}"


def await_ready(home: Home, settings: Settings, name: str) -> str:
    """`ready_words`, once there are any.

    Raises:
        Unavailable: the agent did not get that far.
    """
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        words = ready_words(home, settings, name)
        if words:
            return words
        time.sleep(0.02)
    raise Unavailable(f"the agent of {name} is not ready", suggestion=f"look into {home.part_logs / ('agent-' + name + '.log')}")


def holds_lease(cluster: dict[str, Any]) -> bool:
    """Whether a cluster, as the API shows it, has an agent that takes work now."""
    return cluster["state"] == "ready"


def clock_ahead_seconds(cluster: dict[str, Any]) -> float | None:
    """How far the clock of the cluster's agent is ahead of the database's; None while nobody has said."""
    return cluster["agent"].get("clock_ahead_seconds")


def capacity_words(capacities: Sequence[dict[str, int]]) -> str:
    """`8 cpu · 31 GiB · no gpu`, summed over nodes."""
    total: dict[str, int] = {}
    for capacity in capacities:
        for resource, amount in capacity.items():
            total[resource] = total.get(resource, 0) + amount
    gpus = [f"{amount // 1000} {name.removeprefix(GPU_PREFIX)}" for name, amount in sorted(total.items()) if name.startswith(GPU_PREFIX)]
    words = [f"{total.get(CPU, 0) / 1000:g} cpu", f"{total.get(MEMORY, 0) / 2**30:.0f} GiB", " + ".join(gpus) or "no gpu"]
    return " · ".join([f"{len(capacities)} nodes", *words] if len(capacities) > 1 else words)
