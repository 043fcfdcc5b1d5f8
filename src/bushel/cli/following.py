"""Print what tasks print, as it comes: byte for byte, but on a terminal without what would command it."""

from __future__ import annotations

import sys

from bushel.cli.live import Live
from bushel.cli.terminal import defused_output
from bushel.client.log_records import LogNotice, LogRecord, read_log_event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO

    from bushel.cli.session import Session
    from bushel.client.streams import Stream

PATIENCE_SECONDS = 30.0

_COLOURS = ("blue", "green", "yellow", "red")


class Printer:
    """Writes records. `apart` keeps stderr on stderr; `prefix` says which task a line is from; `times` when it was written."""

    def __init__(self, session: Session, *, apart: bool, prefix: bool, times: bool, array: bool) -> None:
        self._session = session
        self._apart = apart
        self._prefix = prefix
        self._times = times
        self._array = array
        self._open: dict[tuple[int, int, str], bool] = {}  # logs whose last line has not ended
        self.complete = True

    def show(self, found: LogRecord | LogNotice) -> None:
        if isinstance(found, LogRecord):
            self._record(found)
        elif found.kind == "dropped":
            self._note(found.data, f"{found.data['dropped_bytes']:,} bytes ahead of this were dropped for the limit of a log")
        elif found.kind == "cut":
            self.complete = False
            self._note(found.data, found.data.get("message") or "the end of this log was never received")

    def _record(self, record: LogRecord) -> None:
        to = self._session.err if self._apart and record.stream == "stderr" else self._session.out
        raw: BinaryIO = to.buffer  # type: ignore[attr-defined]
        key = (record.index, record.rank, record.stream)
        if not self._open.get(key):
            to.write(self._head(record))
            to.flush()
        raw.write(defused_output(record.text) if to.isatty() else record.text)
        raw.flush()
        self._open[key] = not record.text.endswith(b"\n")

    def _head(self, record: LogRecord) -> str:
        parts = []
        if self._times and record.at:
            parts.append(self._session.paint(record.at, "dim"))
        if self._prefix:
            task = self._task(record.index, record.rank)
            parts.append(self._session.paint(f"[{task}]", _COLOURS[(record.index + record.rank) % len(_COLOURS)]))
        return " ".join(parts) + " " if parts else ""

    def _task(self, index: int, rank: int) -> str:
        return f"{index}.{rank}" if self._array and rank else str(index) if self._array else f"rank {rank}"

    def _note(self, data: Mapping[str, Any], text: str) -> None:
        self._session.out.flush()
        where = f" [{self._task(data['index'], data['rank'])}]" if self._prefix else ""
        self._session.note(f"bushel{where}: {text}")


def follow_output(session: Session, job: Mapping[str, Any], stream: Stream, printer: Printer) -> Mapping[str, Any]:
    """Print until all has ended; gives what the last event says: `state` and `complete`.

    Raises:
        LogStreamLost: the stream broke and could not be taken up again.
        BushelError: the server refused it.
    """
    from bushel.client.http1 import TransportFailure
    from bushel.client.streams import follow

    begun = False
    ticking = sys.stderr.isatty()
    with Live(session) as live:
        try:
            for event in follow(session.caller, stream, tick_seconds=1.0 if ticking else None):
                if event is None:
                    if not begun:
                        live.show([_status(session, job)])
                    continue
                live.clear()
                for found in read_log_event(event):
                    if isinstance(found, LogNotice) and found.kind == "end":
                        return found.data
                    if isinstance(found, LogNotice) and found.kind == "refused":
                        raise _refusal(found.data)
                    begun = True
                    printer.show(found)
        except TransportFailure as failure:
            raise _lost(job, stream, failure) from failure
    raise AssertionError("a followed log ends with its last event or with an error")


def _status(session: Session, job: Mapping[str, Any]) -> str:
    """What the job does while it prints nothing."""
    from bushel.cli.wait import progress_line
    from bushel.client.operations import jobs
    from bushel.domain.errors import BushelError

    try:
        return progress_line(session.call(jobs.get(job["metadata"]["id"])))
    except BushelError:
        return "Bushel does not answer"


def _lost(job: Mapping[str, Any], stream: Stream, failure: Exception) -> Exception:
    from bushel.client.errors import LogStreamLost

    resume = f" --from {stream.last_event_id}" if stream.last_event_id else ""
    return LogStreamLost(
        f"the output of {job['metadata']['id']} broke off: {failure}",
        resume=stream.last_event_id,
        suggestion=f"bushel logs -f {job['metadata']['id']}{resume}",
    )


def _refusal(data: Mapping[str, Any]) -> Exception:
    from bushel.client.errors import of_code

    return of_code(str(data.get("code", "")), str(data.get("message", "")), data.get("suggestion"))
