"""A real Kubernetes control plane on this machine, with fake nodes: etcd, the API server, its controllers and kwok.

Everything lies in one folder and listens on loopback, on ports that are free; `stop` ends what was started, by process.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bushel.agent.executors.kubernetes.access import from_kubeconfig
from bushel.agent.executors.kubernetes.api import MERGE_PATCH, Api, ApiError
from bushel.agent.executors.kubernetes.watch import pages

_ROOT = Path(__file__).resolve().parents[2]
_STAGES = Path(__file__).parent / "stages.yaml"
READY_SECONDS = 60.0


def tools() -> Path:
    """The folder of the programs. Without them a run in CI fails; elsewhere it says what to do."""
    asked = subprocess.run(
        [sys.executable, str(_ROOT / "tools/kubernetes/build.py"), "--where", "core"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(asked.stderr.strip())
    return Path(asked.stdout.strip())


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Authority:
    """Signs certificates for a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        authority = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._write("ca", self._key, authority.sign(self._key, hashes.SHA256()))
        service_accounts = ec.generate_private_key(ec.SECP256R1())
        (folder / "accounts.key").write_bytes(_private(service_accounts))
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        (folder / "accounts.pub").write_bytes(service_accounts.public_key().public_bytes(serialization.Encoding.PEM, public))

    def sign(self, name: str, groups: Sequence[str] = (), *, file: str = "", server: bool = False) -> None:
        """A key and a certificate of a user, or of a server on loopback."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        builder = self._builder(x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        if server:
            names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "10.96.0.1")]
            names += [x509.DNSName(host) for host in ("localhost", "kubernetes", "kubernetes.default.svc")]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self._write(file or name, key, builder.sign(self._key, hashes.SHA256()))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=30))

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        (self.folder / f"{name}.key").write_bytes(_private(key))
        (self.folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


class ControlPlane:
    """`api` speaks for the cluster's administrator; `kubeconfig` lets others do so."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.authority = Authority(folder / "pki")
        self.port, self._etcd, self._peers, self._controllers, self._kwok = free_ports(5)
        self.authority.sign("apiserver", server=True)
        self.authority.sign("apiserver-kubelet", ["system:masters"])
        self.kubeconfig = self.user("admin", ["system:masters"])
        self.api = Api(from_kubeconfig(str(self.kubeconfig)))

    def start(self) -> ControlPlane:
        self._start_etcd()
        self.start_server()
        self._start_controllers()
        self._start_kwok()
        self._wait("the default service account", lambda: self._has("/api/v1/namespaces/default/serviceaccounts/default"))
        return self

    def stop(self) -> None:
        """At once: the API server would take ten seconds over a graceful end."""
        for process in reversed(list(self._processes.values())):
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig that signs in as this user."""
        file = name.replace(":", "-")
        self.authority.sign(name, groups, file=file)
        pki = self.authority.folder
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": _base64(pki / "ca.crt")}
        user = {"client-certificate-data": _base64(pki / f"{file}.crt"), "client-key-data": _base64(pki / f"{file}.key")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        path = self.folder / f"{file}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    # Its parts -------------------------------------------------------------------------------------------------------

    def start_server(self) -> None:
        """The API server; ready when this returns."""
        pki = self.authority.folder
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            "--authorization-mode=Node,RBAC",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/accounts.pub",
            f"--service-account-signing-key-file={pki}/accounts.key",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--enable-admission-plugins=NodeRestriction",
        )
        self._wait("the API server", lambda: self._has("/readyz"))

    def stop_server(self) -> None:
        """As a crash of the API server; etcd stays."""
        server = self._processes.pop("kube-apiserver")
        server.kill()
        server.wait()

    def _start_etcd(self) -> None:
        client, peers = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peers}"
        self._run(
            "etcd",
            "--name=e",
            f"--data-dir={self.folder}/etcd",
            "--unsafe-no-fsync",  # nobody minds if a crash of the machine loses a test's cluster
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=e={peers}",
            "--log-level=warn",
        )

    def _start_controllers(self) -> None:
        pki = self.authority.folder
        kubeconfig = self.user("system:kube-controller-manager")
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._controllers}",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/accounts.key",
            "--kube-api-qps=300",
            "--kube-api-burst=600",
        )

    def start_scheduler(self) -> None:
        """The ordinary one, for pods that name it; asking the API server as fast as it can."""
        kubeconfig = self.user("system:kube-scheduler")
        configuration = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 5000, "burst": 10000},
        }
        (self.folder / "scheduler.yaml").write_text(yaml.safe_dump(configuration))
        self._run(
            "kube-scheduler",
            f"--config={self.folder / 'scheduler.yaml'}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_ports(1)[0]}",
        )

    def _start_kwok(self) -> None:
        pki = self.authority.folder
        self.authority.sign("kwok", ["system:masters"], server=True)
        options = {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "options": {
                "manageAllNodes": False,
                "manageNodesWithAnnotationSelector": "kwok.x-k8s.io/node=fake",
                "nodeIP": "127.0.0.1",
                "nodePort": self._kwok,
                "nodeLeaseDurationSeconds": 40,
                "podPlayStageParallelism": 8,
                "nodePlayStageParallelism": 8,
                "nodeLeaseParallelism": 8,
                "enableDebuggingHandlers": True,
                "cidr": "10.200.0.0/16",
                "serverAddress": f"127.0.0.1:{self._kwok}",
                "tlsCertFile": f"{pki}/kwok.crt",
                "tlsPrivateKeyFile": f"{pki}/kwok.key",
            },
        }
        output = self.folder / "output.log"
        output.write_text("2026-01-01T00:00:00.123456789Z stdout F what a fake pod printed\n")
        logs = {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterLogs",
            "metadata": {"name": "all"},
            "spec": {"logs": [{"logsFile": str(output), "follow": False}]},
        }
        (self.folder / "kwok.yaml").write_text(yaml.safe_dump_all([options, logs]))
        kubeconfig = self.user("kwok-user", ["system:masters"])
        self._run("kwok", f"--kubeconfig={kubeconfig}", f"--config={self.folder / 'kwok.yaml'}", f"--config={_STAGES}")

    def _run(self, program: str, *arguments: str) -> None:
        # Less collection of garbage is a second sooner at the start; the limit keeps that within bounds.
        environment = {**os.environ, "GOGC": "400", "GOMEMLIMIT": "1200MiB"}
        with (self.folder / f"{program}.log").open("ab") as log:
            self._processes[program] = subprocess.Popen(
                [str(self._programs / program), *arguments],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            for program, process in self._processes.items():
                if process.poll() is not None:
                    pytest.fail(f"{program} ended: {(self.folder / f'{program}.log').read_text()[-2000:]}")
            if time.monotonic() > deadline:
                pytest.fail(f"waited {READY_SECONDS:.0f} s for {what}; logs in {self.folder}")
            time.sleep(0.05)

    def _has(self, path: str) -> bool:
        with suppress(ApiError, OSError, ValueError):
            list(self.api.lines(path, timeout_seconds=5.0))
            return True
        return False

    # Nodes -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def nodes(self, *names: str, cpu: str = "8", memory: str = "32Gi", gpus: int = 0, **labels: str) -> Iterator[None]:
        """Fake nodes that are ready, for as long as it takes. `labels` with `_` for `/` would be no names: give them by `**`."""
        for name in names:
            self.add_node(name, cpu=cpu, memory=memory, gpus=gpus, **labels)
        try:
            self.wait_until_ready(names)
            yield
        finally:
            for name in names:
                with suppress(ApiError):
                    self.api.request("DELETE", f"/api/v1/nodes/{name}")

    def add_node(self, name: str, *, cpu: str = "8", memory: str = "32Gi", gpus: int = 0, **labels: str) -> None:
        room = {"cpu": cpu, "memory": memory, "pods": "110", "ephemeral-storage": "500Gi"}
        if gpus:
            room["nvidia.com/gpu"] = str(gpus)
        self.api.request(
            "POST",
            "/api/v1/nodes",
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                    "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **labels},
                },
                "status": {"allocatable": room, "capacity": room},
            },
        )

    def wait_until_ready(self, names: Iterable[str]) -> None:
        wanted = set(names)
        self._wait("nodes to be ready", lambda: wanted <= self._ready_nodes())

    def _ready_nodes(self) -> set[str]:
        def is_ready(node: dict[str, Any]) -> bool:
            conditions = node.get("status", {}).get("conditions", ())
            return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

        return {node["metadata"]["name"] for page in pages(self.api, "/api/v1/nodes") for node in page["items"] if is_ready(node)}

    # Pods ------------------------------------------------------------------------------------------------------------

    def pods(self, attempt: str = "") -> list[dict[str, Any]]:
        """Those that agents made, or those of one attempt."""
        selector = f"bushel.dev/attempt={attempt}" if attempt else "bushel.dev/attempt"
        return self.api.get("/api/v1/pods", labelSelector=selector)["items"]

    def take_away(self, cluster: str) -> None:
        """All pods that the agents of a cluster made."""
        for pod in self.api.get("/api/v1/pods", labelSelector=f"bushel.dev/cluster={cluster}")["items"]:
            path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
            with suppress(ApiError):
                self.api.request("DELETE", path, query={"gracePeriodSeconds": 0})
                self.api.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
