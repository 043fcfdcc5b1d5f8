"""Process many records where some are bad: find those, set them aside with their error, finish the rest.

Guarantees:

- The work is done in a child process, forked from this one. A record that raises, kills the process, runs out of its memory or takes
  longer than it may costs that record alone: what the child had done stays done, the rest goes on in a new child.
- Where records are worked on in batches, a batch that fails is halved until the bad ones stand alone.
- Results come in the order of the records, and each record is either among them or among those set aside, once.
- What was set aside is written to `bad-records.jsonl` in the task's folder and reported, the first hundred with their errors. Past a
  threshold the task ends with exit code 65, which counts as a failure of the data: it is not tried again.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from bushel.data import result

BAD_DATA_EXIT_CODE = 65
"""EX_DATAERR of sysexits.h."""

REPORTED_LIMIT = 100
ERROR_LIMIT = 500
UNITS_AT_ONCE = 64
BAD_RECORDS_FILE = "bad-records.jsonl"

Item = TypeVar("Item")
Result = TypeVar("Result")


class Failed(Exception):
    """How a child failed at a record, when it could not say so itself."""


class TooManyBadRecords(SystemExit):
    """More were set aside than may be. Not caught, it ends the task."""

    def __init__(self, message: str) -> None:
        super().__init__(BAD_DATA_EXIT_CODE)
        self.message = message


@dataclass
class Tally:
    """What became of the records of all calls in this process."""

    total: int = 0
    bad: int = 0
    listed: list[dict[str, str]] | None = None

    def report(self) -> None:
        result.add("records", None, {"total": self.total, "bad": self.bad, "list": self.listed or []})


_tally = Tally()


def records(
    items: Iterable[Item],
    work: Callable[[Any], Any],
    *,
    key: Callable[[Item], str] = str,
    batch: int = 1,
    most_bad: int | None = None,
    share: float | None = None,
    timeout_seconds: float | None = None,
    memory_bytes: int | None = None,
) -> Iterator[tuple[Item, Any]]:
    """Each record with its result, but for the bad ones.

    `work` takes a record, or, where `batch` is more than 1, a list of so many records, and then gives a list of as many results.
    `key` names a record for people. `timeout_seconds` and `memory_bytes` bound one call of `work`.

    Raises:
        TooManyBadRecords: more than `most_bad` were set aside, or, at the end, more than `share` of all.
    """
    started = Tally(_tally.total, _tally.bad)
    with _Supervisor(work, batch, timeout_seconds, memory_bytes) as supervisor:
        for item, outcome, error in supervisor.run(items):
            _tally.total += 1
            if error is None:
                yield item, outcome
                continue
            _set_aside(key(item), error)
            bad = _tally.bad - started.bad
            if most_bad is not None and bad > most_bad:
                _give_up(f"{bad} records are bad, and at most {most_bad} may be; the last: {key(item)}: {error}")
    total, bad = _tally.total - started.total, _tally.bad - started.bad
    _tally.report()
    if share is not None and bad > share * total:
        _give_up(f"{bad} of {total} records are bad, which is more than {share:g} of them")


def _set_aside(record: str, error: str) -> None:
    entry = {"record": record[:ERROR_LIMIT], "error": error[:ERROR_LIMIT]}
    _tally.bad += 1
    _tally.listed = _tally.listed or []
    if len(_tally.listed) < REPORTED_LIMIT:
        _tally.listed.append(entry)
    with open(BAD_RECORDS_FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _give_up(message: str) -> None:
    _tally.report()
    sys.stderr.write(f"too many bad records: {message}\n")
    raise TooManyBadRecords(message)


class _Supervisor(Generic[Item]):
    """Hands units (lists of records) to a child, a few at a time, and sees what becomes of each."""

    def __init__(self, work: Callable[[Any], Any], batch: int, timeout_seconds: float | None, memory_bytes: int | None) -> None:
        self._work = work
        self._batch = max(1, batch)
        self._timeout_seconds = timeout_seconds
        self._memory_bytes = memory_bytes
        self._child: BaseProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> _Supervisor[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, items: Iterable[Item]) -> Iterator[tuple[Item, Any, str | None]]:
        """Each record with its result or its error, in order."""
        source = iter(items)
        waiting: deque[list[Item]] = deque()
        while True:
            while len(waiting) < UNITS_AT_ONCE and (unit := self._next_unit(source)):
                waiting.append(unit)
            if not waiting:
                return
            units = [waiting.popleft() for _ in range(min(len(waiting), UNITS_AT_ONCE))]
            yield from self._run_units(units, waiting)

    def _next_unit(self, source: Iterator[Item]) -> list[Item]:
        return [item for _, item in zip(range(self._batch), source, strict=False)]

    def _run_units(self, units: list[list[Item]], waiting: deque[list[Item]]) -> Iterator[tuple[Item, Any, str | None]]:
        """What fails goes back to `waiting` in halves, before what was not begun."""
        connection = self._begun()
        with suppress(BrokenPipeError):
            connection.send(units)
        for position, unit in enumerate(units):
            outcome, error, alive = self._answer(connection)
            if error is None:
                yield from ((item, value, None) for item, value in zip(unit, outcome, strict=True))
            elif len(unit) == 1:
                yield unit[0], None, error
            if error is not None and len(unit) > 1:
                middle = len(unit) // 2
                rest = units[position + 1 :]
                for again in reversed([unit[:middle], unit[middle:], *rest]):
                    waiting.appendleft(again)
                self._end()
                return
            if not alive:
                for again in reversed(units[position + 1 :]):
                    waiting.appendleft(again)
                return

    def _answer(self, connection: Connection) -> tuple[Any, str | None, bool]:
        """Results of the next unit, or the error, and whether the child is still alive."""
        try:
            if not connection.poll(self._timeout_seconds):
                self._end()
                return None, f"took longer than {self._timeout_seconds:g} s", False
            kind, value = connection.recv()
        except (EOFError, ConnectionResetError):
            return None, self._cause_of_death(), False
        return (value, None, True) if kind == "done" else (None, value, True)

    def _begun(self) -> Connection:
        """The connection to a child that lives."""
        if self._child is not None and self._child.is_alive() and self._connection is not None:
            return self._connection
        self._end()
        context = get_context("fork")
        ours, theirs = context.Pipe()
        arguments = (theirs, ours, self._work, self._batch > 1, self._memory_bytes)
        child = context.Process(target=_serve, args=arguments, daemon=True)
        child.start()
        theirs.close()
        self._child, self._connection = child, ours
        return ours

    def _cause_of_death(self) -> str:
        child = self._child
        if child is None:
            return "its process died"
        child.join(5)
        code = child.exitcode
        self._end()
        if code is not None and code < 0:
            with suppress(ValueError):
                return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}"

    def _end(self) -> None:
        child, self._child = self._child, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if child is not None:
            child.kill()
            child.join(10)


def _serve(connection: Connection, parents: Connection, work: Callable[[Any], Any], whole: bool, memory_bytes: int | None) -> None:
    """The child: unit after unit, an answer for each, until nobody asks any more."""
    parents.close()
    if memory_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, hard))
    while True:
        try:
            units = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        for unit in units:
            try:
                answer: tuple[str, Any] = ("done", _worked(work, unit, whole))
                connection.send(answer)
            except BrokenPipeError:
                os._exit(0)
            except Exception as error:  # whatever it is, it is this record's
                connection.send(("failed", f"{type(error).__name__}: {error}"[:ERROR_LIMIT]))


def _worked(work: Callable[[Any], Any], unit: list[Any], whole: bool) -> list[Any]:
    if not whole:
        return [work(item) for item in unit]
    results = list(work(unit))
    if len(results) != len(unit):
        raise Failed(f"{len(results)} results for {len(unit)} records")
    return results
