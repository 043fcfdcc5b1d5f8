"""Making objects and letting go of them, in ways that may be done twice.

Guarantees: what is there already, by an earlier try, is as good as made, and what is gone as good as deleted; a pod that could not be
let go of is in `held` until it was.
"""

from __future__ import annotations

import time

from bushel.agent.executors.kubernetes.api import MERGE_PATCH, ApiError
from bushel.agent.executors.kubernetes.identity import ensure_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from typing import Any

    from bushel.agent.executors.kubernetes.api import Api

NAMESPACE_SECONDS = 10.0
_AGAIN_SECONDS = 0.1


class Objects:
    """Each call raises as `Api.request` does."""

    def __init__(self, api: Api, closing: threading.Event) -> None:
        self._api = api
        self._closing = closing
        self._namespaces: set[str] = set()
        self.held: dict[str, None] = {}  # paths of pods to be let go of

    def ensure_namespace(self, namespace: str) -> None:
        if namespace not in self._namespaces:
            ensure_namespace(self._api, namespace)
            self._namespaces.add(namespace)

    def make(self, path: str, document: dict[str, Any]) -> None:
        try:
            self._api.request("POST", path, document)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    def make_pod(self, namespace: str, pod: dict[str, Any]) -> None:
        """A new namespace takes pods only once its service account is there."""
        deadline = time.monotonic() + NAMESPACE_SECONDS
        while True:
            try:
                return self.make(f"/api/v1/namespaces/{namespace}/pods", pod)
            except ApiError as error:
                if error.status != 403 or "serviceaccount" not in str(error) or time.monotonic() > deadline:
                    raise
            self._closing.wait(_AGAIN_SECONDS)

    def delete(self, path: str, **query: Any) -> None:
        try:
            self._api.request("DELETE", path, query=query)
        except ApiError as error:
            if error.status != 404:
                raise

    def let_go(self, path: str) -> None:
        """Of a pod that has ended or never ran: nothing keeps it any more."""
        self.held[path] = None
        self.delete(path, gracePeriodSeconds=0)
        try:
            self._api.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.status != 404:
                raise
        self.held.pop(path, None)
