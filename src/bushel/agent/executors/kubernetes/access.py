"""How to reach a Kubernetes API server: from a kubeconfig file, or from what a pod is given.

Guarantees: certificates are always checked unless the file itself says not to; a token in a file is read again for each
connection, since the cluster replaces it; what we cannot use (a login plugin) is refused with a sentence.
"""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
import tempfile
from dataclasses import dataclass
from urllib.parse import urlsplit

from bushel.agent.config import BadConfiguration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_MOUNTED = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True, slots=True)
class Access:
    """`tls` is None for a server without it."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    token: str = ""
    token_file: str = ""

    def headers(self) -> dict[str, str]:
        """What says who we are, besides the certificate.

        Raises:
            OSError: the token cannot be read.
        """
        token = self.token
        if self.token_file:
            with open(self.token_file) as file:
                token = file.read().strip()
        return {"Authorization": f"Bearer {token}"} if token else {}


def from_pod() -> Access:
    """As the service account of the pod that we run in.

    Raises:
        BadConfiguration: we do not run in a pod.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise BadConfiguration("`kubernetes.kubeconfig` is needed outside of a cluster: the path of a kubeconfig file")
    tls = ssl.create_default_context(cafile=f"{_MOUNTED}/ca.crt")
    return Access(host, int(port), tls, token_file=f"{_MOUNTED}/token")


def from_kubeconfig(path: str) -> Access:
    """By the current context of the file.

    Raises:
        BadConfiguration: it cannot be read or used. The text says what is missing.
    """
    import yaml

    try:
        with open(path) as file:
            document = yaml.safe_load(file)
        context = _named(document, "contexts", "context", document["current-context"])
        cluster = _named(document, "clusters", "cluster", context["cluster"])
        user = _named(document, "users", "user", context["user"])
        return _access(cluster, user, os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        raise BadConfiguration(f"`kubernetes.kubeconfig`: {error}") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, LookupError) as error:
        raise BadConfiguration(f"`kubernetes.kubeconfig`: {path} cannot be used: {error}") from error


def _named(document: dict[str, Any], many: str, one: str, name: str) -> dict[str, Any]:
    for entry in document[many]:
        if entry["name"] == name:
            return entry[one]
    raise LookupError(f"it has no {one} {name!r}")


def _access(cluster: dict[str, Any], user: dict[str, Any], folder: str) -> Access:
    if unusable := {"exec", "auth-provider", "username"} & set(user):
        raise BadConfiguration(
            f"`kubernetes.kubeconfig`: its user signs in by {sorted(unusable)[0]!r}; use a client certificate, `token` or `tokenFile`"
        )
    server = urlsplit(cluster["server"])
    tls = None
    if server.scheme == "https":
        authority = _content(cluster, "certificate-authority", folder)
        tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        certificate, key = _content(user, "client-certificate", folder), _content(user, "client-key", folder)
        if certificate and key:
            with _file(certificate) as certificate_file, _file(key) as key_file:
                tls.load_cert_chain(certificate_file, key_file)
    token_file = user.get("tokenFile", "")
    return Access(
        server.hostname or "",
        server.port or (443 if tls else 80),
        tls,
        user.get("token", ""),
        os.path.join(folder, token_file) if token_file else "",
    )


def _content(entry: dict[str, Any], name: str, folder: str) -> bytes:
    """What a field holds: in the file itself, or in one that it names."""
    if entry.get(f"{name}-data"):
        return base64.b64decode(entry[f"{name}-data"])
    if entry.get(name):
        with open(os.path.join(folder, entry[name]), "rb") as file:
            return file.read()
    return b""


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """TLS wants files; ours are readable by us alone and gone at once."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name
