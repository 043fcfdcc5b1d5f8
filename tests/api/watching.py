"""Reads server-sent events the way a plain client does."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

PATIENCE_SECONDS = 15.0


class Message:
    def __init__(self) -> None:
        self.kind = "message"
        self.resume: str | None = None
        self.text: str | None = None
        self.comment: str | None = None

    @property
    def data(self) -> Any:
        assert self.text is not None
        return json.loads(self.text)


class Watch:
    """One open stream. Reading it fails after `PATIENCE_SECONDS` of silence."""

    def __init__(
        self, client: Any, path: str, *, resume: str | None = None, patience_seconds: float = PATIENCE_SECONDS, **params: Any
    ) -> None:
        self._connection = http.client.HTTPConnection(client.host, client.port, timeout=patience_seconds)
        headers = {"Authorization": f"Bearer {client.token}"}
        if resume is not None:
            headers["Last-Event-ID"] = resume
        self._connection.request("GET", path + ("?" + urlencode(params, doseq=True) if params else ""), headers=headers)
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.resume: str | None = resume

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._connection.close()

    def problem(self) -> Any:
        return json.loads(self._answer.read())

    def messages(self) -> Iterator[Message]:
        """All that comes, until the server ends the stream."""
        message = Message()
        while line := self._answer.readline():
            name, _, value = line.rstrip(b"\n").decode().partition(": ")
            if name == "id":
                message.resume = self.resume = value
            elif name == "event":
                message.kind = value
            elif name == "data":
                message.text = value
            elif line.startswith(b":"):
                message.comment = value
            elif line == b"\n":
                yield message
                message = Message()

    def next(self, wanted: Callable[[Message], bool] = lambda message: message.text is not None) -> Message:
        for message in self.messages():
            if wanted(message):
                return message
        raise AssertionError("the stream ended before what was awaited")

    def take(self, count: int) -> list[Message]:
        return [self.next() for _ in range(count)]
