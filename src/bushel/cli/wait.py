"""`bushel wait`: until jobs end. The exit code says how."""

from __future__ import annotations

import argparse
import time

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.job_views import TERMINAL_STATES, detail, job_name, task_progress
from bushel.cli.live import Live, bar
from bushel.cli.output import show_list
from bushel.cli.session import Session
from bushel.cli.words import duration, epoch_seconds, plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TICK_SECONDS = 1.0
RECHECK_SECONDS = 30.0
"""How often jobs are asked for again, in case an event was not meant for us to see."""

LINES_SHOWN = 10

TERMINAL_KINDS = ("job.succeeded", "job.failed", "job.cancelled")

_EXITS = {"failed": exits.JOB_FAILED, "cancelled": exits.JOB_CANCELLED, "not found": exits.JOB_NOT_FOUND}
_ORDER = (exits.JOB_FAILED, exits.JOB_CANCELLED, exits.JOB_NOT_FOUND, exits.JOB_NOT_FINISHED)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", metavar="JOB", nargs="+", help="id, or a name: the newest job of that name")
    parser.add_argument("--timeout", metavar="TIME", help="give up after this: 30s, 2h")
    parser.add_argument("--any", action="store_true", help="until the first of them ends")


class Waiting:
    """Jobs that are waited for: each reference with the job as last seen, or None for one that is not there."""

    def __init__(self, session: Session, references: list[str]) -> None:
        self._session = session
        self.jobs: dict[str, dict[str, Any] | None] = dict.fromkeys(references)

    def look(self) -> None:
        """Ask for every job that has not been seen to end."""
        for reference, job in self.jobs.items():
            if job is None or not ended(job):
                self.jobs[reference] = self._get(job_name(job) if job else reference)

    def look_at(self, job_id: str) -> None:
        for reference, job in self.jobs.items():
            if job is not None and job_name(job) == job_id:
                self.jobs[reference] = self._get(job_id)

    def pending(self) -> list[dict[str, Any]]:
        return [job for job in self.jobs.values() if job is not None and not ended(job)]

    def done(self, *, any_is_enough: bool) -> bool:
        left = len(self.pending())
        return left == 0 or (any_is_enough and left < len(self.jobs))

    def _get(self, reference: str) -> dict[str, Any] | None:
        from bushel.client.errors import NotFound
        from bushel.client.operations import jobs

        try:
            return dict(self._session.call(jobs.get(reference, project=self._session.project)))
        except NotFound:
            return None


def ended(job: Mapping[str, Any]) -> bool:
    return job["status"]["state"] in TERMINAL_STATES


def wait_for(session: Session, waiting: Waiting, *, timeout_seconds: float | None = None, any_is_enough: bool = False) -> None:
    """Return when they have ended or time is up; shows progress on a terminal meanwhile."""
    from bushel.client.operations import events
    from bushel.client.streams import follow

    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    position = session.call(events.events_page(newest_first=True, limit=1))["position"]  # first, so that nothing ends unseen
    waiting.look()
    if waiting.done(any_is_enough=any_is_enough):
        return
    known = waiting.pending()
    only = job_name(known[0]) if len(waiting.jobs) == 1 else None
    stream = events.watch(job=only, kinds=TERMINAL_KINDS, after=position)
    rechecked_at = shown_at = time.monotonic()
    showing = session.err.isatty()
    tick_seconds = TICK_SECONDS if deadline is None else max(0.05, min(TICK_SECONDS, (timeout_seconds or 0) / 4))
    with Live(session) as live:
        if showing:
            live.show(progress_lines(waiting))
        for event in follow(session.caller, stream, tick_seconds=tick_seconds):
            now = time.monotonic()
            if event is not None:
                waiting.look_at(_job_of(event.data))
            if (showing and now - shown_at >= TICK_SECONDS) or now - rechecked_at >= RECHECK_SECONDS:
                waiting.look()
                rechecked_at = shown_at = now
            if showing:
                live.show(progress_lines(waiting))
            if waiting.done(any_is_enough=any_is_enough) or (deadline is not None and now >= deadline):
                return


def _job_of(data: str) -> str:
    import json

    return str(json.loads(data).get("job"))


def progress_lines(waiting: Waiting) -> list[str]:
    """One line a job that has not ended."""
    pending = waiting.pending()
    lines = [progress_line(job) for job in pending[:LINES_SHOWN]]
    if len(pending) > LINES_SHOWN:
        lines.append(f"and {plural(len(pending) - LINES_SHOWN, 'more job')}")
    return lines


def progress_line(job: Mapping[str, Any]) -> str:
    """What an array, a gang or a single task has come to."""
    status, counts = job["status"], job["status"]["counts"]
    head = f"{job['metadata']['name']} {job['metadata']['id']}"
    if counts["total"] > 1:
        done = counts["succeeded"] + counts["failed"] + counts["cancelled"]
        parts = [f"{head}  {bar(done, counts['total'])}  {done:,}/{counts['total']:,}"]
        named = {"running": "running", "starting": "starting", "delayed": "retrying", "failed": "failed"}
        parts += [f"{counts[state]:,} {word}" for state, word in named.items() if counts[state]]
        if 0 < done < counts["total"] and counts["succeeded"] and status.get("started_at"):
            lasted = time.time() - epoch_seconds(status["started_at"])
            parts.append(f"about {duration(round(lasted * (counts['total'] - done) / done))} left")
        return "   ".join(parts)
    told = status.get("progress") or {}
    parts = [f"{head}  {status['state']}"]
    if isinstance(told.get("done"), int | float) and isinstance(told.get("total"), int | float) and told["total"] > 0:
        parts.insert(1, bar(told["done"], told["total"]))
    if status["state"] == "running":
        parts.append(task_progress(told))
        if status.get("started_at"):
            parts.append(f"for {duration(time.time() - epoch_seconds(status['started_at']))}")
    else:
        parts.append(detail(dict(job)))
    return "   ".join(part for part in parts if part)


def result_line(job: Mapping[str, Any]) -> str:
    """`train k7q2m succeeded after 3 min 12 s`."""
    status = job["status"]
    lasted = ""
    if status.get("ended_at") and status.get("started_at"):
        lasted = f" after {duration(epoch_seconds(status['ended_at']) - epoch_seconds(status['started_at']))}"
    why = detail(dict(job))
    counts = status["counts"]
    if counts["total"] > 1 and counts["failed"]:
        why = f"{counts['failed']:,} of {counts['total']:,} indices failed"
    return f"{job['metadata']['name']} {job['metadata']['id']} {status['state']}{lasted}" + (f": {why}" if why else "")


def exit_code_of(jobs: Mapping[str, Mapping[str, Any] | None]) -> int:
    """The gravest of what became of them."""
    codes = {_EXITS["not found"] if job is None else _EXITS.get(job["status"]["state"], 0) for job in jobs.values()}
    codes |= {exits.JOB_NOT_FINISHED for job in jobs.values() if job is not None and not ended(job)}
    return next((code for code in _ORDER if code in codes), exits.OK)


def _run(options: argparse.Namespace, session: Session) -> int:
    from bushel.cli.times import seconds

    waiting = Waiting(session, list(dict.fromkeys(options.jobs)))
    timeout = seconds(options.timeout) if options.timeout else None
    try:
        wait_for(session, waiting, timeout_seconds=timeout, any_is_enough=options.any)
    except KeyboardInterrupt:
        session.note(f"The jobs go on.\nNext: bushel wait {' '.join(options.jobs)}")
        return exits.INTERRUPTED
    _show(session, waiting)
    considered = waiting.jobs
    if options.any:
        considered = {reference: job for reference, job in waiting.jobs.items() if job is None or ended(job)} or waiting.jobs
    return exit_code_of(considered)


def _show(session: Session, waiting: Waiting) -> None:
    found = [job for job in waiting.jobs.values() if job is not None]
    if session.for_people:
        for reference, job in waiting.jobs.items():
            if job is None:
                session.note(f"{reference}: there is no such job, or you may not see it")
            elif ended(job):
                session.say(result_line(job))
            else:
                session.note(f"{job['metadata']['name']} {job_name(job)} is still {job['status']['state']}")
    else:
        show_list(session, found, (), name=job_name, empty="")


COMMANDS = {
    "wait": Command(
        "wait for jobs to end",
        _run,
        _arguments,
        description=(
            "Wait for jobs to end. The exit code: 0 all succeeded, 100 one failed, 103 one was cancelled, "
            "102 one was not found, 101 one had not ended when the time was up."
        ),
        examples="  bushel wait k7q2m\n  bushel wait --timeout 2h $(bushel ls -o name --state live)",
    )
}
