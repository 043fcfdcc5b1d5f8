"""Lines of logs out of their stored form: `2026-11-24T11:20:00.123456789Z stdout F text`, ended by a newline.

Guarantees: any bytes come out as they went in; what is no record is shown as it stands, never lost.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from bushel.client.sse import ServerEvent


class LogRecord:
    """One line, or a part of one. `text` is what the task wrote, with its newline unless the next record goes on with the line."""

    __slots__ = ("at", "attempt", "index", "rank", "stream", "text")

    def __init__(self, at: str, stream: str, text: bytes, *, index: int, attempt: int, rank: int) -> None:
        self.at = at
        self.stream = stream
        self.text = text
        self.index = index
        self.attempt = attempt
        self.rank = rank

    def __repr__(self) -> str:
        return f"LogRecord({self.at} {self.index}.{self.attempt} rank {self.rank} {self.stream} {self.text!r})"


class LogNotice:
    """What the server says about a log. `kind`: `dropped` (older records are gone for the limit), `ended` (this log is complete),
    `cut` (its end was never received: output is missing), `end` (all is over; nothing follows)."""

    __slots__ = ("data", "kind")

    def __init__(self, kind: str, data: Mapping[str, Any]) -> None:
        self.kind = kind
        self.data = data

    def __repr__(self) -> str:
        return f"LogNotice({self.kind} {dict(self.data)})"


class LogPage:
    """Part of one log. `ended`: nothing will follow `size_bytes`; `dropped`: these bytes ahead of the page are gone."""

    __slots__ = ("dropped", "ended", "next_offset", "records", "size_bytes")

    def __init__(self, headers: Mapping[str, str], body: bytes, *, index: int, attempt: int, rank: int, offset: int) -> None:
        self.next_offset = int(headers.get("bushel-next-offset", offset + len(body)))
        self.size_bytes = int(headers.get("bushel-log-size", self.next_offset))
        self.ended = headers.get("bushel-log-ended") == "true"
        self.dropped = headers.get("bushel-log-dropped")
        self.records = parse_records(body, index=index, attempt=attempt, rank=rank)


def read_log_event(event: ServerEvent) -> list[LogRecord | LogNotice]:
    """What one event of a followed log holds."""
    try:
        data = json.loads(event.data)
    except ValueError:
        return []
    if event.event != "log":
        return [LogNotice(event.event, data)]
    found: list[LogRecord | LogNotice] = []
    if data.get("dropped_bytes"):
        found.append(LogNotice("dropped", data))
    found += parse_records(_bytes_of(data), index=data["index"], attempt=data["attempt"], rank=data["rank"])
    return found


def parse_records(data: bytes, *, index: int, attempt: int, rank: int) -> list[LogRecord]:
    """The records in `data`, which holds whole ones."""
    return [LogRecord(*_split(line), index=index, attempt=attempt, rank=rank) for line in _lines(data)]


def _bytes_of(data: Mapping[str, Any]) -> bytes:
    if "base64" in data:
        import binascii

        return binascii.a2b_base64(data["base64"])
    return data.get("text", "").encode()


def _lines(data: bytes) -> list[bytes]:
    """Cut at newlines alone: a carriage return is the task's own."""
    *whole, rest = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def _split(line: bytes) -> tuple[str, str, bytes]:
    parts = line.rstrip(b"\n").split(b" ", 3)
    if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr") or parts[2] not in (b"F", b"P"):
        return "", "stdout", line
    at, stream, mark, text = parts
    return at.decode("ascii", "replace"), stream.decode(), text if mark == b"P" else text + b"\n"
