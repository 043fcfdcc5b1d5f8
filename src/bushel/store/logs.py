"""The output of tasks as files: `<folder>/<shard>/<job>/<index>.<attempt>.<rank>/<first offset>.log[.gz]`.

Guarantees:

- A log grows by whole records only. Bytes that are sent again are skipped, a gap is refused; so appends may be repeated,
  late or doubled. The folder alone says how long a log is.
- Two processes may append to one log: each append holds the lock (`flock`) of the log's folder.
- An append that was cut off, by a kill or a full disk, leaves at most whole records of it: what is torn is cut away.
- Segments of `segment_bytes` are synced and compressed when full; so all but the last segment survives a power cut, and
  `finish` syncs that one too. Readers are told that bound as `durable_bytes`.
- A log keeps its first `head_bytes` and, past `limit_bytes`, drops its oldest segments behind those. Offsets never move.
- Reading and appending need memory for one segment and one page, however long the log is.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bushel.domain.errors import BushelError, DiskFull
from bushel.domain.failpoints import reach
from bushel.domain.ids import encode_job_id

SEGMENT_BYTES = 4 * 1024 * 1024
HEAD_BYTES = 16 * 1024 * 1024
LIMIT_BYTES = 256 * 1024 * 1024

_PLAIN, _PACKED = ".log", ".log.gz"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LOOK_BACK_BYTES = 64 * 1024
_READ_ATTEMPTS = 5
_RECORD = re.compile(rb"[^\n]*\n")


@dataclass(frozen=True, slots=True, order=True)
class LogId:
    """One task of one attempt, by the job's number."""

    job_id: int
    index: int
    attempt: int
    rank: int


@dataclass(frozen=True, slots=True)
class LogState:
    """`dropped` are the half-open bounds of what the limit took; None if nothing."""

    size_bytes: int = 0
    durable_bytes: int = 0
    dropped: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class LogPage:
    """`data` begins at `offset`: where was asked for, or behind what was dropped. It is whole records if it began at one."""

    data: bytes
    offset: int
    next_offset: int
    state: LogState


class Gap(BushelError):
    """The data begins behind the end of the log, which is at `size_bytes`."""

    code = "log_gap"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"the log ends at {size_bytes}")
        self.size_bytes = size_bytes


class NotRecords(BushelError):
    """The data does not end at the end of a record."""

    code = "log_malformed"


@dataclass(frozen=True, slots=True)
class _Segment:
    path: Path
    first: int
    size: int

    @property
    def packed(self) -> bool:
        return self.path.name.endswith(_PACKED)

    @property
    def stop(self) -> int:
        return self.first + self.size

    def read(self, start: int, stop: int) -> bytes:
        """Bytes between two offsets of the log."""
        if self.packed:
            with gzip.open(self.path) as file:
                return file.read()[start - self.first : stop - self.first]
        with self.path.open("rb") as file:
            file.seek(start - self.first)
            return file.read(stop - start)


class LogFolder:
    """All logs under one folder."""

    def __init__(
        self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, head_bytes: int = HEAD_BYTES, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._head_bytes = head_bytes
        self._limit_bytes = limit_bytes

    def append(self, log: LogId, offset: int, data: bytes) -> LogState:
        """Add whole records that begin at `offset`; what is there already is skipped.

        Raises:
            Gap: the log is shorter than `offset`.
            NotRecords: `data` does not end with a newline.
            DiskFull: nothing of `data` past the answer's end was kept; send it again later.
        """
        if data and not data.endswith(b"\n"):
            raise NotRecords("a chunk must end at the end of a record")
        with self._locked(log, create=bool(data) or offset > 0) as path:
            if path is None:
                return LogState()
            segments = _recovered(path)
            end = segments[-1].stop if segments else 0
            if offset > end:
                raise Gap(end)
            rest = memoryview(data)[end - offset :]
            if rest:
                self._write(path, segments, end, rest)
                reach("logs.after_write")
            return _state(_segments(path))

    def finish(self, log: LogId) -> LogState:
        """Make all of the log survive a power cut."""
        with self._locked(log, create=False) as path:
            if path is None:
                return LogState()
            segments = _recovered(path)
            for segment in segments[-1:]:
                _sync(segment.path)
            for folder in (path, path.parent, path.parent.parent, self._folder):
                _sync(folder)
            state = _state(segments)
            return LogState(state.size_bytes, state.size_bytes, state.dropped)

    def state(self, log: LogId) -> LogState:
        """How long the log is and what is missing of it. A log without a record has no folder and is empty."""
        return _state(_whole(_segments(self._path(log))))

    def read(self, log: LogId, offset: int, limit_bytes: int, ended_bytes: int | None = None) -> LogPage:
        """Up to `limit_bytes` from `offset` on, ending with a whole record unless a single one is longer than that.

        `ended_bytes` is how long the log was when it ended, if it has: all of it may have been removed since.
        """
        for attempt in range(_READ_ATTEMPTS):
            try:
                page = self._read(log, offset, limit_bytes)
                if ended_bytes and not page.state.size_bytes:
                    return LogPage(b"", ended_bytes, ended_bytes, LogState(ended_bytes, ended_bytes, (0, ended_bytes)))
                return page
            except FileNotFoundError:  # a segment was packed or dropped meanwhile
                if attempt == _READ_ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _read(self, log: LogId, offset: int, limit_bytes: int) -> LogPage:
        segments = _whole(_segments(self._path(log)))
        state = _state(segments)
        start = next((max(offset, segment.first) for segment in segments if segment.stop > offset), state.size_bytes)
        parts: list[bytes] = []
        position = start
        for segment in segments:
            if segment.first <= position < segment.stop and position - start < limit_bytes:
                parts.append(segment.read(position, min(segment.stop, start + limit_bytes)))
                position += len(parts[-1])
        data = b"".join(parts)
        if len(data) == limit_bytes and (whole := data.rfind(b"\n") + 1):
            data = data[:whole]
        return LogPage(data, start, start + len(data), state)

    def _path(self, log: LogId) -> Path:
        job = encode_job_id(log.job_id)
        return self._folder / job[-2:] / job / f"{log.index}.{log.attempt}.{log.rank}"

    @contextmanager
    def _locked(self, log: LogId, *, create: bool) -> Iterator[Path | None]:
        path = self._path(log)
        try:
            if create:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif not path.is_dir():
                yield None
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise _disk_full(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield path
        finally:
            os.close(descriptor)

    def _write(self, path: Path, segments: list[_Segment], end: int, rest: memoryview) -> None:
        """Cut at records, into segments."""
        last = segments[-1] if segments and not segments[-1].packed else None
        while rest:
            room = self._segment_bytes - (last.size if last else 0)
            length = _records_within(rest, room, at_least_one=last is None or last.size == 0)
            if length == 0 and last is not None:
                self._seal(last)
                last = None
                self._drop_old(path)
                continue
            target = last.path if last else path / f"{end:020d}{_PLAIN}"
            try:
                _append(target, last.size if last else 0, rest[:length])
            except OSError as error:
                raise _disk_full(error) from error
            first = last.first if last else end
            end += length
            last = _Segment(target, first, end - first)
            rest = rest[length:]

    def _seal(self, segment: _Segment) -> None:
        """Pack a full segment. Where there is no room to, it stays as it is, synced."""
        packed = segment.path.with_name(segment.path.name.removesuffix(_PLAIN) + _PACKED)
        draft = packed.with_name(packed.name + ".draft")
        try:
            with draft.open("wb") as file:
                file.write(_packed_bytes(segment.path.read_bytes()))
                file.flush()
                os.fsync(file.fileno())
            reach("logs.before_pack")
            draft.replace(packed)
            _sync(packed.parent)
            reach("logs.after_pack")
            segment.path.unlink()
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            with suppress(OSError):
                _sync(segment.path)

    def _drop_old(self, path: Path) -> None:
        segments = _segments(path)
        kept = sum(segment.size for segment in segments)
        for segment in segments:
            if kept + self._segment_bytes <= self._limit_bytes:
                return
            if segment.first >= self._head_bytes:
                segment.path.unlink()
                kept -= segment.size


def select_output(data: bytes, stream: str | None) -> bytes:
    """Only the records of `stdout` or `stderr`."""
    if stream is None:
        return data
    wanted = b" " + stream.encode() + b" "
    return b"".join(record for record in _RECORD.findall(data) if record.startswith(wanted, record.find(b" ")))


def last_records(data: bytes, count: int) -> bytes:
    """The last `count` records."""
    start = len(data)
    for _ in range(count):
        if start == 0:
            break
        start = data.rfind(b"\n", 0, start - 1) + 1
    return data[start:]


def _packed_bytes(data: bytes) -> bytes:
    """One gzip member, quickly; `zcat` reads it."""
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(data) + packer.flush()


def _segments(path: Path) -> list[_Segment]:
    """In order. Where a kill left a packed segment beside its plain one, the packed one counts: it is complete."""
    found: dict[int, _Segment] = {}
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            digits = entry.name.partition(".")[0]
            if not (digits.isdigit() and entry.name[len(digits) :] in (_PLAIN, _PACKED)):
                continue
            with suppress(FileNotFoundError):
                file = Path(entry.path)
                packed = entry.name.endswith(_PACKED)
                if packed or int(digits) not in found:
                    found[int(digits)] = _Segment(file, int(digits), _unpacked_size(file) if packed else entry.stat().st_size)
    return [found[first] for first in sorted(found)]


def _unpacked_size(path: Path) -> int:
    """What a gzip member says of itself in its last four bytes (RFC 1952)."""
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")


def _whole(segments: list[_Segment]) -> list[_Segment]:
    """Without what is torn at the end."""
    if not segments or segments[-1].packed or segments[-1].size == 0:
        return segments
    last = segments[-1]
    with suppress(FileNotFoundError):
        return [*segments[:-1], _Segment(last.path, last.first, _whole_records(last.path, last.size))]
    return segments


def _recovered(path: Path) -> list[_Segment]:
    """As `_whole`, and the torn end and what a kill left behind are removed; under the lock."""
    for draft in path.glob("*.draft"):
        draft.unlink()
    segments = _segments(path)
    for segment in segments:
        if segment.packed:
            segment.path.with_name(segment.path.name.removesuffix(".gz")).unlink(missing_ok=True)
    whole = _whole(segments)
    if whole and whole[-1].size < segments[-1].size:
        os.truncate(whole[-1].path, whole[-1].size)
    return whole


def _whole_records(path: Path, size: int) -> int:
    """Bytes up to and with the last newline among the first `size`."""
    with path.open("rb") as file:
        stop = size
        while stop > 0:
            start = max(0, stop - _LOOK_BACK_BYTES)
            file.seek(start)
            newline = file.read(stop - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            stop = start
    return 0


def _state(segments: list[_Segment]) -> LogState:
    if not segments:
        return LogState()
    dropped, stop = None, 0
    for segment in segments:
        if segment.first > stop and dropped is None:
            dropped = (stop, segment.first)
        stop = segment.stop
    return LogState(stop, stop if segments[-1].packed else segments[-1].first, dropped)


def _records_within(data: memoryview, room: int, *, at_least_one: bool) -> int:
    """Length of the whole records at the beginning of `data` that fit into `room`; the first may be longer if one is a must."""
    if len(data) <= room:
        return len(data)
    length = bytes(data[: max(room, 0)]).rfind(b"\n") + 1
    return bytes(data).find(b"\n") + 1 if length == 0 and at_least_one else length


def _append(path: Path, size: int, data: memoryview) -> None:
    """All of `data` behind the first `size` bytes, or none of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
            reach("logs.after_part")
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_full(error: OSError) -> OSError | DiskFull:
    if error.errno in _FULL:
        return DiskFull(
            "the volume of the logs is full", suggestion="free space there; agents keep their output meanwhile and send it again"
        )
    return error
