"""Following the output of one element of a job until it can print nothing more.

Guarantees: `end` is sent only when the element (or the attempt asked for) has ended and every byte that exists of the
chosen logs was sent; a log whose end never came is told apart (`cut`), so nothing that is missing looks complete. A
follower keeps one page in memory, whatever the logs hold, and its resume mark names the place in every one of them.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from bushel.api.authentication import authenticate_person
from bushel.api.sse import HEARTBEAT_SECONDS, message
from bushel.api.streams import Hub, job_topic
from bushel.domain.errors import BushelError, FieldProblem, InvalidDocument, NotFound, Unavailable
from bushel.store import log_streams
from bushel.store.database import Database
from bushel.store.listener import EVERYTHING
from bushel.store.log_streams import FollowedAttempt, FollowedElement
from bushel.store.logs import LogFolder, LogId, LogPage, select_output

MOST_RANKS = 64
"""Most logs that one stream follows at once."""

POLL_SECONDS = 1.0
RECHECK_SECONDS = 3.0
CUT_SECONDS = 30.0
"""How long after the end of its attempt a log may still receive its last bytes before its readers are told that it is cut."""

_UNSTARTED_SECONDS = 2.0
_PAGE_BYTES = 256 * 1024
_PAGES_A_ROUND = 8
_PAUSE_SECONDS = 0.02

_MARK = re.compile(r"(\d{1,9}):((?:\d{1,9}=\d{1,18}e?(?:,|$)){0,64})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which logs. None: the newest attempt and those after it; every rank; both streams."""

    job_id: int
    scope_path: str
    index: int
    attempt: int | None
    rank: int | None
    stream: str | None


@dataclass(slots=True)
class Progress:
    """How far each log of attempt `number` was sent, and which are over. Its text is what a stream resumes from."""

    number: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        ranks = ",".join(f"{rank}={offset}{'e' if rank in self.over else ''}" for rank, offset in sorted(self.offsets.items()))
        return f"{self.number}:{ranks}"

    @classmethod
    def parse(cls, text: str) -> Progress:
        """
        Raises:
            InvalidDocument: no stream ever said to resume from there.
        """
        found = _MARK.fullmatch(text)
        if found is None:
            raise InvalidDocument([FieldProblem("/query/from", "not a place in a stream of logs. Leave it out to begin again")])
        progress = cls(int(found[1]))
        for part in filter(None, found[2].split(",")):
            rank, _, offset = part.partition("=")
            progress.offsets[int(rank)] = int(offset.rstrip("e"))
            if offset.endswith("e"):
                progress.over.add(int(rank))
        return progress


class Follower:
    """One stream."""

    def __init__(self, request: Request, database: Database, folder: LogFolder, hub: Hub, wanted: Wanted, progress: Progress) -> None:
        self._request = request
        self._database = database
        self._folder = folder
        self._hub = hub
        self._wanted = wanted
        self._progress = progress
        self._complete = True

    def look(self) -> FollowedElement:
        """What is known of the element now.

        Raises:
            InvalidDocument: more logs than one stream follows.
            NotFound: it has no attempt or rank of that number.
        """
        self._hub.begin_tail()
        with self._database.transaction() as tx:
            element = log_streams.element(
                tx, self._wanted.job_id, self._wanted.index, attempt=self._wanted.attempt, at_least=self._progress.number
            )
        if element.attempt is None and self._wanted.attempt is not None:
            raise NotFound(f"there is no attempt {self._wanted.attempt} of it")
        if element.attempt is not None:
            if not self._progress.number and (self._wanted.rank or 0) >= element.attempt.ranks:  # a later attempt may be smaller
                raise NotFound(f"there is no rank {self._wanted.rank} of it")
            self._take_up(element.attempt)
        return element

    def _take_up(self, attempt: FollowedAttempt) -> None:
        """Go over to the logs of `attempt` if it is another than before."""
        if self._wanted.rank is None and attempt.ranks > MOST_RANKS:
            problem = FieldProblem(
                "/query/rank", f"it has {attempt.ranks} ranks, and one stream follows at most {MOST_RANKS}: say which rank"
            )
            raise InvalidDocument([problem])
        ranks = range(attempt.ranks) if self._wanted.rank is None else (self._wanted.rank,)
        if attempt.number != self._progress.number:
            self._progress = Progress(attempt.number)
        for rank in ranks:
            self._progress.offsets.setdefault(rank, 0)

    async def messages(self, element: FollowedElement) -> AsyncGenerator[bytes, None]:
        """All of it, as server-sent events."""
        now = asyncio.get_running_loop().time
        heartbeat_at, recheck_at, look_at = now() + HEARTBEAT_SECONDS, now() + RECHECK_SECONDS, now()
        yield message(resume=str(self._progress), comment="following")
        try:
            with self._hub.job(self._wanted.job_id) as wakes:
                while not self._hub.stopping.is_set():
                    if now() >= recheck_at:
                        (await authenticate_person(self._request)).may("job:read", self._wanted.scope_path)
                        recheck_at = now() + RECHECK_SECONDS
                    if now() >= look_at:
                        element = await run_in_threadpool(self.look)
                        look_at = now() + POLL_SECONDS
                    sent = False
                    async for part in self._new(element):
                        sent = True
                        yield part
                    if self._all_over(element):
                        if self._is_last(element):
                            yield message({"state": element.job_state, "complete": self._complete}, kind="end", resume=str(self._progress))
                            return
                        self._next_attempt()
                        look_at = now()
                        continue
                    if sent:
                        heartbeat_at = now() + HEARTBEAT_SECONDS
                        await asyncio.sleep(_PAUSE_SECONDS)  # what comes meanwhile goes with the next page
                    elif now() >= heartbeat_at:
                        yield message(resume=str(self._progress), comment="still here")
                        heartbeat_at = now() + HEARTBEAT_SECONDS
                    hinted = await wakes.wait(0.0 if sent else POLL_SECONDS)
                    if hinted & {job_topic(self._wanted.job_id), EVERYTHING}:
                        look_at = now()
        except Unavailable:
            return  # no `end`: the client takes the stream up again
        except BushelError as error:
            yield message({"code": error.code, "message": error.message, "suggestion": error.suggestion}, kind="refused")

    def _all_over(self, element: FollowedElement) -> bool:
        if element.attempt is None:
            return element.over
        return element.attempt.state == "ended" and self._progress.over >= self._progress.offsets.keys()

    def _is_last(self, element: FollowedElement) -> bool:
        return self._wanted.attempt is not None or (element.over and (element.attempt is None or element.attempt.newest))

    def _next_attempt(self) -> None:
        if self._progress.offsets:
            self._progress = Progress(self._progress.number + 1)

    async def _new(self, element: FollowedElement) -> AsyncGenerator[bytes, None]:
        attempt = element.attempt
        if attempt is None:
            return
        for rank in sorted(self._progress.offsets.keys() - self._progress.over):
            for _ in range(_PAGES_A_ROUND):  # then the next rank has its turn
                offset = self._progress.offsets[rank]
                page = await run_in_threadpool(self._folder.read, self._log(rank), offset, _PAGE_BYTES, attempt.ended_sizes.get(rank))
                self._progress.offsets[rank] = page.next_offset
                if page.data or page.offset > offset:
                    yield self._page(rank, offset, page)
                if not page.data:
                    break
            else:
                continue
            if rank in attempt.ended_sizes and page.next_offset >= attempt.ended_sizes[rank]:
                self._progress.over.add(rank)
                yield self._told(rank, "ended", {"size_bytes": page.next_offset})
            elif _is_over_without_an_end(attempt, rank, page.state.size_bytes):
                self._progress.over.add(rank)
                if page.state.size_bytes == 0 and attempt.outcome != "lost" and rank not in attempt.started_ranks:
                    yield self._told(rank, "ended", {"size_bytes": 0})
                else:
                    self._complete = False
                    yield self._told(rank, "cut", {"size_bytes": page.next_offset, "message": "the end of its output never arrived"})

    def _log(self, rank: int) -> LogId:
        return LogId(self._wanted.job_id, self._wanted.index, self._progress.number, rank)

    def _page(self, rank: int, asked: int, page: LogPage) -> bytes:
        data = select_output(page.data, self._wanted.stream)
        body: dict[str, Any] = {"offset": page.offset, "next_offset": page.next_offset}
        if page.offset > asked:
            body["dropped_bytes"] = page.offset - asked
        try:
            body["text"] = data.decode()
        except UnicodeDecodeError:
            body["base64"] = base64.b64encode(data).decode()
        return self._told(rank, "log", body)

    def _told(self, rank: int, kind: str, body: dict[str, Any]) -> bytes:
        where = {"index": self._wanted.index, "attempt": self._progress.number, "rank": rank}
        return message({**where, **body}, kind=kind, resume=str(self._progress))


def _is_over_without_an_end(attempt: FollowedAttempt, rank: int, size_bytes: int) -> bool:
    """Whether no more can be expected of a log that nobody ended."""
    if attempt.state != "ended" or rank in attempt.ended_sizes:
        return False
    never_began = size_bytes == 0 and rank not in attempt.started_ranks and attempt.outcome != "lost"
    return attempt.seconds_since_end >= (_UNSTARTED_SECONDS if never_began else CUT_SECONDS)
