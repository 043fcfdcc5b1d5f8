"""How far one task's output has been sent, and what comes next.

Guarantees: chunks are whole records, in order, without a gap in the offsets of the log; what was dropped before it
could be sent (see `spool`) is told in a record of its own, which is written to disk before it is first sent, so that
it is the same when it is sent again; only what the control plane has made durable is deleted. Nothing needs to be
remembered across a restart: the control plane says how far it is.
"""

from __future__ import annotations

import contextlib
import itertools
import os

from bushel.agent import clock
from bushel.agent.executors.local import folder, spool
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GAP = "gap"


class TaskLog:
    """`offset` counts bytes of the log as the control plane has it, positions count bytes as the shim wrote them. They are the same until
    something was dropped: then `gap` says where they part, and by how much.
    """

    def __init__(self, task_folder: str, attempt: str, rank: int) -> None:
        self.attempt = attempt
        self.rank = rank
        self.offset = 0
        self.ended = False  # nothing more is written
        self.final_position: int | None = None  # where the shim stood at the end, if it said so
        self._folder = f"{task_folder}/{folder.LOG}"
        self._gap: dict[str, Any] | None = folder.read(task_folder, _GAP)
        self._gap_path = f"{task_folder}/{_GAP}"
        if self._gap is None:
            first = next(iter(spool.segments(self._folder)), None)
            self.offset = first[0] if first is not None else 0

    def chunk(self, limit_bytes: int) -> tuple[bytes, bool]:
        """What to send at `offset`, and whether nothing follows it.

        Raises:
            OSError: the spool cannot be read, or the record of a gap not written.
        """
        told = self._rest_of_gap_record()
        if told:
            return told, False
        position = self._position()
        segments = spool.segments(self._folder)
        end = position
        for start, path in segments:
            size = _size(path)
            if start > position:  # a hole
                return self._tell_gap(position, start), False
            if position < start + size:
                data = _read(path, position - start, limit_bytes)
                data = data[: data.rfind(b"\n") + 1]
                end = position + len(data)
                complete = self.ended and start == segments[-1][0] and end == start + size
                if complete and self.final_position is not None and end < self.final_position:
                    complete = False
                return data, complete
        if self.ended and self.final_position is not None and position < self.final_position:
            return self._tell_gap(position, self.final_position), False
        return b"", self.ended

    def accepted(self, size_bytes: int, durable_bytes: int) -> None:
        """The control plane has so much; what is durable is deleted, but for the segment that may still be written."""
        self.offset = size_bytes
        durable = self._position_of(durable_bytes)
        segments = spool.segments(self._folder)
        for (_, path), (next_start, _) in itertools.pairwise(segments):
            if next_start > durable:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _position(self) -> int:
        return self._position_of(self.offset)

    def _position_of(self, offset: int) -> int:
        if self._gap is None:
            return offset
        after = self._gap["offset"] + len(self._gap["record"].encode())
        if offset >= after:
            return self._gap["position"] + offset - after
        return max(0, self._gap["dropped_from"] - (self._gap["offset"] - offset))

    def _rest_of_gap_record(self) -> bytes:
        if self._gap is None:
            return b""
        record = self._gap["record"].encode()
        return record if self.offset == self._gap["offset"] else b""

    def _tell_gap(self, start: int, stop: int) -> bytes:
        text = f"bushel: {stop - start} bytes of output were dropped here, because they could not be stored or sent in time"
        record = f"{clock.timestamp()[:-1]}000Z stderr F {text}\n"
        self._gap = {"offset": self.offset, "dropped_from": start, "position": stop, "record": record}
        reach("task_log.before_gap")
        folder.replace(self._gap_path, self._gap)
        reach("task_log.after_gap")
        return record.encode()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _read(path: str, offset: int, limit_bytes: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(descriptor, limit_bytes, offset)
    finally:
        os.close(descriptor)
