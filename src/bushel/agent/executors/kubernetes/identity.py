"""Who the agent is, kept in the cluster that it speaks for, so that it may come back with nothing on disk.

Guarantees: `incarnation` is made once for a cluster's name and stays; `generation` grows with each start, and no two
starts have the same one, for the map is replaced only as it was read.
"""

from __future__ import annotations

import secrets

from bushel.agent.executors.kubernetes import labels
from bushel.agent.executors.kubernetes.api import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bushel.agent.executors.kubernetes.api import Api

_TRIES = 20


def begin(api: Api, namespace: str, cluster: str) -> tuple[str, int]:
    """The incarnation and the generation of this start.

    Raises:
        ApiError: the cluster does not let us keep it.
        Unreachable: the cluster does not answer.
    """
    ensure_namespace(api, namespace)
    name = f"bushel-agent-{cluster}"
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for _ in range(_TRIES):
        try:
            try:
                kept = api.get(f"{path}/{name}")
            except ApiError as error:
                if error.status != 404:
                    raise
                data = {"incarnation": secrets.token_hex(12), "generation": "1"}
                document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {labels.CLUSTER: cluster}}}
                api.request("POST", path, {**document, "data": data})
                return data["incarnation"], 1
            kept["data"]["generation"] = str(int(kept["data"]["generation"]) + 1)
            api.request("PUT", f"{path}/{name}", kept)
            return kept["data"]["incarnation"], int(kept["data"]["generation"])
        except ApiError as error:
            if error.status != 409:  # somebody was there first: look again
                raise
    raise ApiError(409, "Conflict", f"{namespace}/{name} is changed all the time: is there a second agent of {cluster}?")


def ensure_namespace(api: Api, namespace: str) -> None:
    """Make it, with the Pod Security level that our pods keep. One that is there is left as it is."""
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    metadata: dict[str, Any] = {"name": namespace, "labels": {"app.kubernetes.io/managed-by": "bushel", **level}}
    try:
        api.request("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    except ApiError as error:
        if error.status != 409:
            raise
