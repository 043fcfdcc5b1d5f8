"""`bushel cancel`, `hold`, `release` and `retry`."""

from __future__ import annotations

import argparse
import sys

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.job_views import job_name
from bushel.cli.ls import LIVE_STATES, add_filters
from bushel.cli.mistakes import Wrong
from bushel.cli.output import show_list, show_object
from bushel.cli.session import Session
from bushel.cli.words import plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bushel.client.operation import Operation


def _jobs_argument(parser: argparse.ArgumentParser, *, count: str = "+") -> None:
    parser.add_argument("jobs", metavar="JOB", nargs=count, help="id, or a name: the newest job of that name")


def _each(
    options: argparse.Namespace, session: Session, define: Callable[[str], Operation[Any]], said: Callable[[dict[str, Any]], str]
) -> int:
    """Do it to every job named; one that fails does not keep the others from being done. Gives the first failure's exit code."""
    code, changed = exits.OK, []
    for reference in options.jobs:
        try:
            changed.append(dict(session.call(define(reference))))
        except Exception as error:
            if len(options.jobs) == 1:
                raise
            from bushel.cli.failures import report

            this = report(error, session)
            code = code or this
    if session.for_people:
        for job in changed:
            session.say(said(job))
    elif len(options.jobs) == 1:
        show_object(session, changed[0], name=job_name, lines=lambda _: ())
    else:
        show_list(session, changed, (), name=job_name, empty="")
    return code


def _title(job: dict[str, Any]) -> str:
    return f"{job['metadata']['name']} {job['metadata']['id']}"


# cancel ------------------------------------------------------------------------------------------------------------


def _cancel_arguments(parser: argparse.ArgumentParser) -> None:
    _jobs_argument(parser, count="*")
    parser.add_argument("--index", metavar="INDICES", help="only these indices of an array: 3,7,20-29")
    parser.add_argument("-m", "--message", metavar="TEXT", help="why, for whoever looks at the job")
    several = parser.add_argument_group("instead of jobs, everything that all of these select")
    add_filters(several, f"{', '.join(LIVE_STATES)}; or live: all of these")
    several.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _cancel(options: argparse.Namespace, session: Session) -> int:
    from bushel.client.operations import jobs

    filtered = any((options.state, options.queue, options.by, options.name, options.label, options.since, options.before))
    if options.jobs and filtered:
        raise Wrong("name jobs or a filter, not both")
    if options.jobs:
        return _each(
            options,
            session,
            lambda reference: jobs.cancel(reference, indices=options.index, message=options.message, project=session.project),
            lambda job: _cancelled(job, options.index),
        )
    if not filtered:
        raise Wrong("nothing to cancel", suggestion="bushel cancel JOB, or a filter such as --queue main")
    if options.index:
        raise Wrong("--index needs a job")
    return _cancel_many(options, session)


def _cancelled(job: dict[str, Any], indices: str | None) -> str:
    if indices is not None:
        which = f"index {indices} is" if indices.isdigit() else f"indices {indices} are"
        return f"{_title(job)}: {which} told to stop"
    state = job["status"]["state"]
    if state == "stopping":
        return f"{_title(job)} is stopping: its tasks get the signal, then their grace"
    return f"{_title(job)} {'is' if state == 'cancelled' else 'had already'} {state}"


def _cancel_many(options: argparse.Namespace, session: Session) -> int:
    from bushel.cli.ls import COUNTED_TOTAL, filters, how_many_more
    from bushel.client.operations import jobs

    chosen = filters(options, session)
    chosen["states"] = [state for state in chosen.get("states", LIVE_STATES) if state in LIVE_STATES]
    if not options.yes:
        found = session.call(jobs.list_page(**chosen, limit=20))
        if not found["items"]:
            session.note("no jobs match")
            return exits.OK
        for job in found["items"][:10]:
            session.note(f"  {_title(dict(job))}   {job['status']['state']}   {job['metadata']['queue']}")
        total = found.get("estimated_total")
        shown = min(10, len(found["items"]))
        more = found["next_page"] is not None
        if more or len(found["items"]) > shown:
            session.note(f"  and {how_many_more(total, shown).removeprefix('there are ')}")
        if not sys.stdin.isatty():
            raise Wrong("this cancels every job that matches", suggestion="say --yes to do it without being asked")
        count = "all of these jobs" if not total else f"about {total:,} jobs" if total > COUNTED_TOTAL else plural(total, "job")
        if not session.confirm(f"Cancel {count}?"):
            session.note("nothing was cancelled")
            return exits.ERROR
    states = chosen.pop("states")
    selection = {"state": states, **{name: value for name, value in chosen.items() if value is not None}}
    done = session.call(jobs.cancel_many(selection, message=options.message))
    if session.for_people:
        session.say(f"{plural(done['cancelled'], 'job')} told to stop")
        if done.get("refused"):
            session.note(f"{plural(done['refused'], 'job')} of others left alone: you may not cancel them")
    else:
        show_object(session, done, name=lambda answer: str(answer["cancelled"]), lines=lambda _: ())
    return exits.OK


# hold, release, retry ----------------------------------------------------------------------------------------------


def _hold(options: argparse.Namespace, session: Session) -> int:
    from bushel.client.operations import jobs

    def said(job: dict[str, Any]) -> str:
        goes_on = "" if job["status"]["state"] == "held" else "; what runs of it goes on"
        return f"{_title(job)} is held{goes_on}"

    return _each(options, session, lambda reference: jobs.hold(reference, project=session.project), said)


def _release(options: argparse.Namespace, session: Session) -> int:
    from bushel.client.operations import jobs

    return _each(
        options,
        session,
        lambda reference: jobs.release(reference, project=session.project),
        lambda job: f"{_title(job)} is released: {job['status']['state']}",
    )


def _retry_arguments(parser: argparse.ArgumentParser) -> None:
    _jobs_argument(parser)
    parser.add_argument("--all", action="store_true", help="of an array also what succeeded; a job that succeeded once more")


def _retry(options: argparse.Namespace, session: Session) -> int:
    from bushel.client.operations import jobs

    def said(job: dict[str, Any]) -> str:
        total = job["status"]["counts"]["total"]
        what = f", {plural(total, 'index', 'indices')}" if total > 1 else ""
        return f"{_title(job)} {job['status']['state']}: {job['metadata']['retry_of']} once more{what}"

    return _each(
        options, session, lambda reference: jobs.retry(reference, only="all" if options.all else "failed", project=session.project), said
    )


COMMANDS = {
    "cancel": Command(
        "stop jobs, or indices of an array",
        _cancel,
        _cancel_arguments,
        description="Stop jobs: their tasks get the signal and their grace, then are killed. What has ended stays as it is.",
        examples="  bushel cancel k7q2m\n  bushel cancel k7q2m --index 100-199\n  bushel cancel --queue vision --label sweep=19 --yes",
    ),
    "hold": Command("keep queued jobs from starting", _hold, _jobs_argument, description="Keep jobs from starting. What runs goes on."),
    "release": Command("let held jobs start", _release, _jobs_argument),
    "retry": Command(
        "submit what failed again, as a new job",
        _retry,
        _retry_arguments,
        description="Submit jobs that have ended again, as new jobs. Of an array only the indices that failed, unless --all.",
    ),
}
