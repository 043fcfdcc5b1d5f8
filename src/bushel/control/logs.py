"""Taking output from agents.

Guarantees: an agent adds to logs of attempts of its own cluster alone, to ranks that exist, and to none that has ended.
A log is recorded as ended only once all of its bytes survive a power cut. What a request was told holds, also if its
answer is lost: sending it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bushel.domain.failpoints import reach
from bushel.domain.ids import parse_attempt_id
from bushel.spec.logs import ChunkError, LogEnd
from bushel.store import log_streams
from bushel.store.database import Database
from bushel.store.log_streams import LogRow
from bushel.store.logs import Gap, LogFolder, LogId, LogState, NotRecords

_LARGEST_INDEX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that begin at `offset` of the log of one rank; `ended`: nothing follows them."""

    attempt: str
    rank: int
    offset: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """`grown` and `ended` are numbers of jobs with more output, and with logs that ended."""

    ends: list[LogEnd]
    grown: frozenset[int]
    ended: frozenset[int]


def accept(database: Database, folder: LogFolder, cluster_id: int, chunks: Sequence[Chunk]) -> Accepted:
    """Keep what is new of `chunks`.

    Raises:
        DiskFull: some may have been kept; send all of it again later.
    """
    logs = [_log_of(chunk) for chunk in chunks]
    known_logs = {log for log in logs if log is not None}
    with database.transaction() as tx:
        ranks = log_streams.rank_counts(tx, cluster_id, {(log.job_id, log.index, log.attempt) for log in known_logs})
        ended_sizes = log_streams.ended_sizes(tx, known_logs)
    rows: dict[LogId, LogRow] = {}
    ends: list[LogEnd] = []
    try:
        for chunk, log in zip(chunks, logs, strict=True):
            if log is None or log.rank >= ranks.get((log.job_id, log.index, log.attempt), 0):
                ends.append(_end(chunk, LogState(), "unknown_attempt"))
            elif log in ended_sizes:
                ends.append(_of_ended(chunk, ended_sizes[log]))
            else:
                end, row = _take(folder, log, chunk)
                ends.append(end)
                if row is not None:
                    rows[log] = row
                    if row.ended:
                        ended_sizes[log] = row.size_bytes
    finally:
        if rows:
            reach("logs.before_record")
            with database.transaction() as tx:
                log_streams.write(tx, list(rows.values()))
    return Accepted(ends, frozenset(log.job_id for log in rows), frozenset(log.job_id for log, row in rows.items() if row.ended))


def _take(folder: LogFolder, log: LogId, chunk: Chunk) -> tuple[LogEnd, LogRow | None]:
    try:
        state = folder.append(log, chunk.offset, chunk.data)
    except Gap as gap:
        return _end(chunk, LogState(gap.size_bytes), "gap"), None
    except NotRecords:
        return _end(chunk, folder.state(log), "malformed"), None
    if chunk.ended:
        state = folder.finish(log)
    return _end(chunk, state), LogRow(log, state.size_bytes, state.dropped[1] if state.dropped else 0, chunk.ended)


def _of_ended(chunk: Chunk, size_bytes: int) -> LogEnd:
    longer = chunk.offset + len(chunk.data) > size_bytes
    return _end(chunk, LogState(size_bytes, size_bytes), "ended" if longer else None)


def _end(chunk: Chunk, state: LogState, error: ChunkError | None = None) -> LogEnd:
    end = LogEnd(attempt=chunk.attempt, rank=chunk.rank, size_bytes=state.size_bytes, durable_bytes=state.durable_bytes)
    if error is not None:
        end["error"] = error
    return end


def _log_of(chunk: Chunk) -> LogId | None:
    try:
        job_id, index, number = parse_attempt_id(chunk.attempt)
    except ValueError:
        return None
    return LogId(job_id, index, number, chunk.rank) if max(index, number, chunk.rank) <= _LARGEST_INDEX else None
