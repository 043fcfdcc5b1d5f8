"""The Kubernetes API: requests and streams of lines, over connections that are kept.

Guarantees: every call has a time-out; a server that is away, overloaded (429, with its Retry-After) or in trouble (5xx)
is asked again, with growing pauses, until the caller's patience ends: so callers only make requests that may arrive
twice. What the server refuses comes back as `ApiError`, with its own words.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from urllib.parse import urlencode

from bushel.agent.sync import Pauses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from bushel.agent.executors.kubernetes.access import Access

TIMEOUT_SECONDS = 20.0
PATIENCE_SECONDS = 30.0
_LONGEST_RETRY_AFTER_SECONDS = 10.0
_RETRIED = frozenset({429, 500, 502, 503, 504})

MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The server refused. `reason` is a word such as NotFound, `str()` its sentence."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Unreachable(OSError):
    """No answer within the patience: what was asked may have happened or not."""


class Api:
    def __init__(self, access: Access) -> None:
        self._access = access
        self._local = threading.local()

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self.request("GET", path, query=query)

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> dict[str, Any]:
        """One call.

        Raises:
            ApiError: the server refused.
            Unreachable: there was no answer.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        content = None if body is None else json.dumps(body).encode()
        deadline, pauses = time.monotonic() + patience_seconds, Pauses()
        while True:
            pause = pauses.next()
            try:
                status, retry_after, answer = self._once(method, target, content, content_type)
                if status not in _RETRIED:
                    return _document(status, answer)
                failure: Exception = _error(status, answer)
                pause = max(pause, min(retry_after, _LONGEST_RETRY_AFTER_SECONDS))
            except (OSError, http.client.HTTPException) as error:
                failure = Unreachable(f"the Kubernetes API does not answer: {error or type(error).__name__}")
            if time.monotonic() + pause > deadline:
                raise failure
            time.sleep(pause)

    def lines(self, path: str, *, timeout_seconds: float, **query: Any) -> Iterator[bytes]:
        """What the server sends, a line at a time, until it ends or is silent for `timeout_seconds`.

        Raises:
            ApiError: the server refused.
            OSError: the stream broke.
        """
        connection = self._connect(timeout_seconds)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}", headers=self._access.headers())
            response = connection.getresponse()
            if response.status != 200:
                raise _error(response.status, response.read())
            while line := response.readline():
                yield line
        except http.client.HTTPException as error:
            raise OSError(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def _once(self, method: str, target: str, content: bytes | None, content_type: str) -> tuple[int, float, bytes]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect(TIMEOUT_SECONDS)
        headers = {**self._access.headers(), "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = content_type
        try:
            connection.request(method, target, body=content, headers=headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            raise
        after = response.headers.get("Retry-After", "")
        return response.status, float(after) if after.isdecimal() else 0.0, answer

    def _connect(self, timeout_seconds: float) -> http.client.HTTPConnection:
        if self._access.tls is None:
            return http.client.HTTPConnection(self._access.host, self._access.port, timeout=timeout_seconds)
        return http.client.HTTPSConnection(self._access.host, self._access.port, timeout=timeout_seconds, context=self._access.tls)


def _document(status: int, answer: bytes) -> dict[str, Any]:
    if status >= 300:
        raise _error(status, answer)
    return json.loads(answer or b"{}")


def _error(status: int, answer: bytes) -> ApiError:
    try:
        document = json.loads(answer)
        return ApiError(status, str(document.get("reason", "")), str(document.get("message", "")) or f"HTTP status {status}")
    except (ValueError, AttributeError):
        return ApiError(status, "", f"HTTP status {status}: {answer[:200].decode(errors='replace')}")
