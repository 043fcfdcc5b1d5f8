"""A task's output on its way to the control plane: records in bounded segment files.

Guarantees: what a task prints is never held up by the control plane: beyond `limit_bytes` the oldest segment is
dropped, on a full disk the newest output, and either leaves a hole in the positions that the sender finds and tells;
memory is bounded by one chunk; each byte is written as it was printed, but for newlines (they end a record) and the
values of secrets (`***`); a chunk gets one time stamp. The records are those of `bushel.spec.logs`.

Segments are named by the position of their first byte among all that the task's records came to; the last one is
still written.
"""

from __future__ import annotations

import os
import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SEGMENT_BYTES = 4 * 1024 * 1024
PART_BYTES = 16 * 1024  # as spec.logs says; not imported, so that a shim stays small
SECRET_LEAST_BYTES = 4
"""Shorter values are not masked: they would be found everywhere."""

_PROGRESS = b"::progress "
_PROGRESS_LIMIT_BYTES = 8192


def segments(folder: str) -> list[tuple[int, str]]:
    """Position and path of each segment, oldest first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted((int(name), f"{folder}/{name}") for name in names if name.isdecimal())


class Spool:
    """Writes segments. The folder is made with the first output, so that a silent task costs nothing."""

    def __init__(self, folder: str, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = max(limit_bytes, 2 * SEGMENT_BYTES)
        self.position = 0
        self._descriptor: int | None = None
        self._segment_start = 0

    def write(self, records: bytes) -> None:
        """Append whole records, or skip them all if the disk does not take them."""
        if self._descriptor is not None and self.position - self._segment_start >= SEGMENT_BYTES:
            self._close()
            self._drop_oldest()
        try:
            if self._descriptor is None:
                self._descriptor = self._open()
            self._append(self._descriptor, records)
        except OSError:
            self._close()
        self.position += len(records)

    def close(self) -> None:
        self._close()

    def _open(self) -> int:
        if self.position == 0:
            os.makedirs(self.folder, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._segment_start = self.position
        return os.open(f"{self.folder}/{self.position:020d}", flags, 0o600)

    def _append(self, descriptor: int, records: bytes) -> None:
        written = 0
        try:
            while written < len(records):
                written += os.write(descriptor, memoryview(records)[written:])
        except OSError:
            if written:
                os.ftruncate(descriptor, self.position - self._segment_start)  # no half records
            if self.position == self._segment_start:
                os.unlink(f"{self.folder}/{self._segment_start:020d}")
            raise

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _drop_oldest(self) -> None:
        kept = segments(self.folder)
        total = 0
        for start, path in reversed(kept):
            try:
                total += os.stat(path).st_size
                if total > self.limit_bytes - SEGMENT_BYTES and start != self._segment_start:
                    os.unlink(path)
            except FileNotFoundError:  # the sender was done with it
                continue


class Masker:
    """Replaces the values of secrets, also where one is cut by the end of a chunk."""

    def __init__(self, secrets: Sequence[str]) -> None:
        values = sorted({value.encode() for value in secrets if len(value.encode()) >= SECRET_LEAST_BYTES}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, values))) if values else None
        self._values = values

    def mask(self, data: bytes) -> tuple[bytes, bytes]:
        """What can be written now, masked, and the end that may be the beginning of a secret, as it is."""
        if self._pattern is None:
            return data, b""
        kept = self._beginning_at_end(self._pattern, data)
        if kept:
            data, rest = data[:-kept], data[-kept:]
        else:
            rest = b""
        return self._pattern.sub(b"***", data), rest

    def mask_all(self, data: bytes) -> bytes:
        """For the last chunk: nothing is held back."""
        return data if self._pattern is None else self._pattern.sub(b"***", data)

    def _beginning_at_end(self, pattern: re.Pattern[bytes], data: bytes) -> int:
        """Length of the longest end of `data` that begins a secret and is not inside a whole one."""
        whole_until = 0
        for match in pattern.finditer(data, max(0, len(data) - 2 * len(self._values[0]))):
            whole_until = match.end()
        longest = 0
        for value in self._values:
            for length in range(min(len(value) - 1, len(data) - whole_until), longest, -1):
                if data.endswith(value[:length]):
                    longest = length
                    break
        return longest


class OutputStream:
    """One of a task's two outputs, from bytes to records."""

    def __init__(self, name: str, spool: Spool, masker: Masker) -> None:
        self._name = name.encode()
        self._spool = spool
        self._masker = masker
        self._held = b""  # bytes that may be the beginning of a secret or of a character
        self._line_start = b""  # the beginning of the open line while it may be a report of progress; "?" when it cannot be
        self.progress: bytes | None = None

    def feed(self, data: bytes) -> None:
        """Take one chunk."""
        data, self._held = self._masker.mask(self._held + data)
        if not self._held:
            data, self._held = _whole_characters(data)
        if data:
            self._write(data)

    def close(self) -> None:
        """Write what was held back."""
        if self._held:
            held, self._held = self._masker.mask_all(self._held), b""
            self._write(held)
        self._find_progress(b"\n")

    def _write(self, data: bytes) -> None:
        self._find_progress(data)
        head = b"%s %s " % (_time(), self._name)
        lines, newline, part = data.rpartition(b"\n")
        records = b""
        if newline:
            whole = head + b"F "
            split = lines.split(b"\n")
            if max(map(len, split)) <= PART_BYTES:
                records = whole + lines.replace(b"\n", b"\n" + whole) + b"\n"
            else:
                records = b"".join(cut(line, head, b"F ") for line in split)
        if part:
            records += cut(part, head, b"P ")
        self._spool.write(records)

    def _find_progress(self, data: bytes) -> None:
        """Remember the last whole line that reports progress."""
        text = self._line_start + data
        end = text.rfind(b"\n")
        if end >= 0 and _PROGRESS in text:
            lines = b"\n" + text[: end + 1]
            at = lines.rfind(b"\n" + _PROGRESS)
            if at >= 0:
                start = at + 1 + len(_PROGRESS)
                line = lines[start : lines.index(b"\n", start)]
                if len(line) <= _PROGRESS_LIMIT_BYTES:
                    self.progress = line
        rest = text[end + 1 :]
        may_report = _PROGRESS.startswith(rest) or (rest.startswith(_PROGRESS) and len(rest) <= _PROGRESS_LIMIT_BYTES)
        self._line_start = rest if may_report else b"?"


def cut(line: bytes, head: bytes, last: bytes) -> bytes:
    """Records of at most `PART_BYTES` of text for one line; the last is whole (`F `) or a part (`P `)."""
    records = []
    while len(line) > PART_BYTES:
        end = PART_BYTES
        while end > PART_BYTES - 4 and line[end] & 0xC0 == 0x80:  # not inside a character
            end -= 1
        if line[end] & 0xC0 == 0x80:
            end = PART_BYTES
        records.append(head + b"P " + line[:end] + b"\n")
        line = line[end:]
    records.append(head + last + line + b"\n")
    return b"".join(records)


def _whole_characters(data: bytes) -> tuple[bytes, bytes]:
    """Hold back an unfinished UTF-8 character at the end: at most three bytes."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        wanted = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return (data[:-back], data[-back:]) if wanted > back else (data, b"")
    return data, b""


_second = 0
_second_text = b""


def _time() -> bytes:
    global _second, _second_text
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    if second != _second:
        _second = second
        _second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
    return b"%s.%09dZ" % (_second_text, nanoseconds)
