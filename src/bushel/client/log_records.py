"""Lines of logs out of their stored form: `2026-11-24T11:20:00.123456789Z stdout F text`, ended by a newline.

Guarantees: any bytes come out as they went in; what is no record is shown as it stands, never lost.
"""

from __future__ import annotations


class LogRecord:
    """One line, or a part of one. `text` is what the task wrote, with its newline unless the next record goes on with the line.

    `next_offset` is where to go on reading behind it.
    """

    __slots__ = ("at", "attempt", "index", "next_offset", "rank", "stream", "text")

    def __init__(self, at: str, stream: str, text: bytes, *, index: int, attempt: int, rank: int, next_offset: int) -> None:
        self.at = at
        self.stream = stream
        self.text = text
        self.index = index
        self.attempt = attempt
        self.rank = rank
        self.next_offset = next_offset

    def __repr__(self) -> str:
        return f"LogRecord({self.at} {self.index}.{self.attempt} rank {self.rank} {self.stream} {self.text!r})"


def parse_records(data: bytes, *, index: int, attempt: int, rank: int, offset: int) -> list[LogRecord]:
    """The records in `data`, which begins at `offset` of its log and holds whole records."""
    records = []
    for line in _lines(data):
        offset += len(line)
        at, stream, text = _split(line)
        records.append(LogRecord(at, stream, text, index=index, attempt=attempt, rank=rank, next_offset=offset))
    return records


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
