"""One thing that can be asked of the API, described once for every way of asking.

An operation says what to send and what to make of the answer; `Caller` and `AsyncCaller` carry it out. So the sync
and the async client, and the command line, cannot drift apart.
"""

from __future__ import annotations

import json

from bushel.client.http1 import query
from bushel.client.transport import TIMEOUT_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Generic, TypeVar

    Result = TypeVar("Result")

    class _Typed(Generic[Result]):
        pass
else:
    Result = None

    class _Typed:
        """Stands for a generic base, so that nothing imports `typing` at run time."""

        __slots__ = ()

        def __class_getitem__(cls, item):
            return cls


def read_json(_headers: Mapping[str, str], body: bytes) -> Any:
    """The answer's document; None for an empty one.

    Raises:
        ValueError: it is no document.
    """
    document = json.loads(body) if body else None
    if document is not None and not isinstance(document, dict):
        raise ValueError("not an object")
    return document


class Operation(_Typed[Result]):
    """`path` is encoded and complete; `read` makes the result out of an answer below 400."""

    __slots__ = ("body", "headers", "method", "path", "read", "timeout_seconds")

    def __init__(
        self,
        method: str,
        path: str,
        *,
        parameters: Iterable[tuple[str, object]] = (),
        document: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        read: Callable[[Mapping[str, str], bytes], Result] = read_json,
    ) -> None:
        self.method = method
        self.path = path + query(parameters)
        self.headers = dict(headers or {})
        self.body: bytes | None = None
        if document is not None:
            self.body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
            self.headers["Content-Type"] = "application/json"
        self.read = read
        self.timeout_seconds = timeout_seconds

    def result(self, status: int, headers: Mapping[str, str], body: bytes) -> Result:
        """What the answer means.

        Raises:
            BushelError: it refuses, or is nothing that Bushel says.
        """
        if status < 300:
            try:
                return self.read(headers, body)
            except (ValueError, KeyError):
                pass
        from bushel.client.errors import foreign_answer, of_answer

        raise of_answer(status, headers, body) if status >= 400 else foreign_answer(status)


def with_key(key: str | None) -> dict[str, str]:
    """The header that makes a request with an effect safe to send again. Without it the transport makes one up."""
    return {} if key is None else {"Idempotency-Key": key}
