"""Carry out operations over a transport, one after another, from any thread.

Guarantees: an answer of 400 or above raises the `BushelError` that it stands for; a broken exchange raises `Unreachable`.
"""

from __future__ import annotations

from bushel.client.http1 import TransportFailure
from bushel.client.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from bushel.client.context import Context
    from bushel.client.operation import Operation

    Result = TypeVar("Result")


class Caller:
    """Holds the connections to one Bushel."""

    def __init__(self, context: Context, *, patience_seconds: float = 15.0, user_agent: str = "bushel-python") -> None:
        """`patience_seconds`: how long a call goes on trying while Bushel is being restarted.

        Raises:
            ValueError: the context's URL is not an address.
        """
        self.context = context
        self.transport = Transport(
            context.url, token=context.token, ca_file=context.ca_file, headers={"User-Agent": user_agent}, patience_seconds=patience_seconds
        )

    def call(self, operation: Operation[Result]) -> Result:
        """The operation's result.

        Raises:
            BushelError: it was refused, or Bushel was not reached.
        """
        try:
            status, headers, body = self.transport.send(
                operation.method, operation.path, operation.body, operation.headers, operation.timeout_seconds
            )
        except TransportFailure as failure:
            from bushel.client.errors import of_failure

            raise of_failure(failure, self.context.url) from failure
        return operation.result(status, headers, body)

    def pages(self, define: Callable[[str | None], Operation[Any]]) -> Iterator[dict[str, Any]]:
        """Every item of a list; `define` makes the request for a page out of the last page's token."""
        page: str | None = None
        while True:
            answer = self.call(define(page))
            yield from answer["items"]
            page = answer.get("next_page")
            if not page:
                return

    def close(self) -> None:
        self.transport.close()
