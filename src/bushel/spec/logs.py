"""How the output of tasks is written down, sent and read.

**A record** is one line of the CRI logging format, as `kubelet` writes it, ended by a newline:

    2026-11-24T11:20:00.123456789Z stdout F text of the line\\n
    2026-11-24T11:20:00.123456789Z stderr P the first 16 KiB of a longer line\\n

Nine digits of a second, UTC, `stdout` or `stderr`, `F` for a whole line or the last part of one, `P` for a part that is
continued by the next record of the same stream. A line without an end is cut into parts of at most `PART_BYTES`, where
possible not inside a UTF-8 character. Output that ends without a newline ends in a `P` record with nothing behind it.
The text may hold any byte but a newline.

**A log** is the sequence of records of one task: one rank of one attempt. Offsets are bytes into that sequence, headers
included, from 0. They never change, also when the oldest records were dropped.

**Agents send** (`POST /v1/agent/logs`, `Content-Type: application/vnd.bushel.logs`, with their token) one line of JSON, a
newline, then the bytes of all chunks in the order in which they are listed, nothing between or after them:

    {"streams": [{"attempt": "k7q2m.0.1", "rank": 0, "offset": 0, "length": 52, "ended": false}, …]}\\n
    <52 bytes><the next chunk's bytes>…

- A chunk is whole records: it is empty or ends with a newline. `offset` is where it begins in the log.
- `ended`: nothing follows this chunk. Every rank that began to run is ended by such a chunk, an empty one if it printed
  nothing (`offset` 0, `length` 0), also when nobody will ever write more because the task was lost. Only an attempt of one
  task may say `log_bytes` 0 in the report of its end instead.
- At most `MOST_BATCH_BYTES` a request and `MOST_STREAMS` chunks. Several chunks of one log are taken in their order.

The answer is 200 with one entry for each chunk, in the same order:

    {"ends": [{"attempt": "k7q2m.0.1", "rank": 0, "size_bytes": 52, "durable_bytes": 0}, …]}

- `size_bytes` is the length of the log as the server has it: go on from there. Bytes sent again are skipped. A chunk that
  begins behind it is refused (`"error": "gap"`): rewind to `size_bytes` and send from there.
- `durable_bytes` survive a power cut of the server; only what lies ahead of it may be deleted by the agent. It reaches
  `size_bytes` once `ended` is taken.
- `"error": "unknown_attempt"`: not an attempt of this agent's cluster, or no such rank: delete what there is of it.
- `"error": "ended"`: the log was ended at `size_bytes` before and holds less than this chunk: delete what there is of it.
- `"error": "malformed"`: the chunk is no whole records: cut it elsewhere.

A full disk is 503 with the code `disk_full` for the whole request: keep everything, try again later; other requests work.

**People read** (`GET /v1/jobs/{job}/logs`) a page of records as `text/plain`, with the headers below; or follow
(`GET /v1/jobs/{job}/logs/follow`) as server-sent events:

    event: log       data: {"index", "attempt", "rank", "offset", "next_offset", "text" | "base64", "dropped_bytes"?}
    event: ended     data: {"index", "attempt", "rank", "size_bytes"}          this log is complete and was sent wholly
    event: cut       data: {"index", "attempt", "rank", "size_bytes", "message"}   its end was never received: output is missing
    event: end       data: {"state", "complete"}      the job (or the index or attempt asked for) ended; all that exists was sent

`text` holds records; `base64` stands for it where a record is not UTF-8. `dropped_bytes`: this many bytes before `offset`
were dropped for the limit of a log. Each message's `id` is where to resume (`Last-Event-ID`, or `?from=`). A stream that
breaks off without `event: end` has not finished: resume it; never take it for success. `complete` is false if any log was
cut. `event: refused` with a problem's `code` and `message` comes when the right to read was taken away meanwhile.
"""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

CONTENT_TYPE = "application/vnd.bushel.logs"

PART_BYTES = 16 * 1024
"""Longest text of one record."""

MOST_BATCH_BYTES = 16 * 1024 * 1024
MOST_STREAMS = 4096

NEXT_OFFSET_HEADER = "Bushel-Next-Offset"
"""Where the next page begins."""

SIZE_HEADER = "Bushel-Log-Size"
"""Length of the log so far."""

ENDED_HEADER = "Bushel-Log-Ended"
"""`true` once nothing will follow `Bushel-Log-Size`."""

DROPPED_HEADER = "Bushel-Log-Dropped"
"""`first-stop`: these bytes, which lie before this page, were dropped for the limit of a log."""

OutputStream = Literal["stdout", "stderr"]

ChunkError = Literal["gap", "unknown_attempt", "ended", "malformed"]


class LogChunk(TypedDict):
    """What the header says of one chunk of a batch."""

    attempt: str
    rank: int
    offset: int
    length: int
    ended: bool


class LogBatchHeader(TypedDict):
    streams: list[LogChunk]


class LogEnd(TypedDict):
    """How far the server has one log."""

    attempt: str
    rank: int
    size_bytes: int
    durable_bytes: int
    error: NotRequired[ChunkError]


class LogAnswer(TypedDict):
    ends: list[LogEnd]
