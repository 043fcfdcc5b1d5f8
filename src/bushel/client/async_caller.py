"""Carry out operations in an event loop: the twin of `Caller`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from bushel.client.async_transport import AsyncTransport
from bushel.client.context import Context
from bushel.client.errors import NotFound, of_answer, of_failure
from bushel.client.http1 import TransportFailure
from bushel.client.operation import Operation
from bushel.client.operations import blobs
from bushel.client.transport import Upload
from bushel.client.uploads import UPLOAD_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from bushel.client.workdir import Packed

Result = TypeVar("Result")


class AsyncCaller:
    """Holds the connections to one Bushel."""

    def __init__(self, context: Context, *, patience_seconds: float, user_agent: str) -> None:
        """As `Caller`.

        Raises:
            ValueError: the context's URL is not an address.
        """
        self.context = context
        self.transport = AsyncTransport(
            context.url, token=context.token, ca_file=context.ca_file, headers={"User-Agent": user_agent}, patience_seconds=patience_seconds
        )

    async def call(self, operation: Operation[Result]) -> Result:
        """The operation's result.

        Raises:
            BushelError: it was refused, or Bushel was not reached.
        """
        return operation.result(
            *await self._send(operation.method, operation.path, operation.body, operation.headers, operation.timeout_seconds)
        )

    async def pages(self, define: Callable[[str | None], Operation[Any]]) -> AsyncIterator[dict[str, Any]]:
        """Every item of a list."""
        page: str | None = None
        while True:
            answer = await self.call(define(page))
            for item in answer["items"]:
                yield item
            page = answer.get("next_page")
            if not page:
                return

    async def upload(self, project: str, packed: Packed) -> bool:
        """As `uploads.upload`."""
        try:
            await self.call(blobs.exists(project, packed.digest))
            return False
        except NotFound:
            pass
        body = Upload(packed.file, packed.size_bytes)
        path, headers = blobs.path(project, packed.digest), {"Content-Type": "application/gzip"}
        status, answered, content = await self._send("PUT", path, body, headers, UPLOAD_TIMEOUT_SECONDS)
        if status >= 400:
            raise of_answer(status, answered, content)
        return True

    async def _send(
        self, method: str, path: str, body: bytes | Upload | None, headers: dict[str, str], timeout_seconds: float
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            return await self.transport.send(method, path, body, headers, timeout_seconds)
        except TransportFailure as failure:
            raise of_failure(failure, self.context.url) from failure

    def close(self) -> None:
        self.transport.close()
