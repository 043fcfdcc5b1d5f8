"""Server-sent events (WHATWG HTML, 9.2.6) out of bytes, however they are cut.

Guarantees: an event is given out only when the blank line that ends it has come, so a cut stream never yields half an
event; a line or an event past its limit is an error, not memory.
"""

from __future__ import annotations

from bushel.client.http1 import ProtocolViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_EVENT_BYTES = 4 * 1024 * 1024


class ServerEvent:
    """`id` is the last one that the stream has named, this event's own or an earlier one's."""

    __slots__ = ("data", "event", "id")

    def __init__(self, event: str, data: str, id: str | None) -> None:
        self.event = event
        self.data = data
        self.id = id


class EventStreamParser:
    """Feed it bytes. `last_event_id` is what to ask to go on after."""

    __slots__ = ("_buffer", "_data", "_event", "_size_bytes", "last_event_id", "retry_seconds")

    def __init__(self, last_event_id: str | None = None) -> None:
        self.last_event_id = last_event_id
        self.retry_seconds: float | None = None
        self._buffer = b""
        self._event = ""
        self._data: list[str] = []
        self._size_bytes = 0

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """The events that `data` completes.

        Raises:
            ProtocolViolation: an event is longer than the limit.
        """
        *lines, self._buffer = (self._buffer + data).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                yield ServerEvent(self._event or "message", "\n".join(self._data), self.last_event_id)
                self._event, self._data, self._size_bytes = "", [], 0
            else:
                self._event = ""
        if self._size_bytes + len(self._buffer) > MOST_EVENT_BYTES:
            raise ProtocolViolation(f"an event of the stream is longer than {MOST_EVENT_BYTES} bytes")

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if name == b"data":
            self._data.append(text)
            self._size_bytes += len(line)
        elif name == b"event":
            self._event = text
        elif name == b"id" and "\0" not in text:
            self.last_event_id = text
        elif name == b"retry" and text.isascii() and text.isdigit():
            self.retry_seconds = int(text[:9]) / 1000
