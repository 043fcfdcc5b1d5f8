"""`bushel logs`: what tasks print, by index, attempt, rank and stream."""

from __future__ import annotations

import argparse
import re

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.following import PATIENCE_SECONDS, Printer, follow_output
from bushel.cli.job_views import TERMINAL_STATES, gang_size, is_array, only_index
from bushel.cli.mistakes import Wrong
from bushel.cli.session import Session
from bushel.client.log_records import LogNotice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PAGE_BYTES = 1024 * 1024
_ATTEMPT = re.compile(r"([0-9a-z]{5,12})\.(\d+)\.(\d+)")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="id, a name (the newest job of that name), or an attempt: JOB.INDEX.ATTEMPT")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    parser.add_argument("--index", metavar="N", type=int, help="of an array")
    parser.add_argument("--attempt", metavar="N", type=int, help="default: the latest")
    parser.add_argument("--rank", metavar="N", type=int, help="of a gang")
    parser.add_argument("--stream", choices=("stdout", "stderr"), metavar="STREAM", help="stdout or stderr; default both")
    parser.add_argument("-t", "--timestamps", action="store_true", help="say when each line was written")
    parser.add_argument("--tail", metavar="N", type=int, help="only the last N lines of each task")
    parser.add_argument("--from", dest="resume", metavar="POSITION", help="go on where a lost stream broke off")


def _take_attempt(options: argparse.Namespace) -> str:
    """The job; the index and attempt of k7q2m.17.1, as lists of attempts have it, are taken as if given by their flags."""
    match = _ATTEMPT.fullmatch(options.job)
    if match is None:
        return options.job
    options.index = int(match[2]) if options.index is None else options.index
    options.attempt = int(match[3]) if options.attempt is None else options.attempt
    return match[1]


def _run(options: argparse.Namespace, session: Session) -> int:
    from bushel.client.operations import jobs, logs

    name = _take_attempt(options)
    job: dict[str, Any] = dict(session.call(jobs.get(name, project=session.project)))
    several = _several_tasks(job, options)
    printer = Printer(session, apart=False, prefix=several, times=options.timestamps, array=is_array(job))
    if options.index is None:
        options.index = only_index(job)
    whole_array = is_array(job) and options.index is None
    if not options.follow and (options.tail is not None or whole_array or job["status"]["state"] not in TERMINAL_STATES):
        return _print_now(options, session, job, printer)
    if whole_array:
        raise Wrong(
            f"{job['metadata']['id']} is an array: say which index to follow",
            suggestion=f"bushel logs -f {job['metadata']['id']} --index 0, or bushel wait {job['metadata']['id']}",
        )
    if options.follow and options.tail is not None:
        raise Wrong("--tail and --follow do not go together")
    stream = logs.follow_logs(
        job["metadata"]["id"],
        index=options.index,
        attempt=options.attempt,
        rank=options.rank,
        stream=options.stream,
        resume=options.resume,
        patience_seconds=PATIENCE_SECONDS,
    )
    try:
        end = follow_output(session, job, stream, printer)
    except KeyboardInterrupt:
        session.note(f"\nThe job goes on.\nNext: bushel logs -f {job['metadata']['id']}")
        return exits.INTERRUPTED
    if not end.get("complete", True) or not printer.complete:
        session.note("Some of the output was never received.")
        return exits.ERROR
    return exits.OK


def _print_now(options: argparse.Namespace, session: Session, job: dict[str, Any], printer: Printer) -> int:
    """What there is now, task by task."""
    tasks = _tasks(options, session, job)
    for index, attempt, rank in tasks:
        _print_task(options, session, job, printer, (index, attempt, rank))
    if not tasks:
        _insist_on_task(options, session, job)
        session.note(f"{job['metadata']['name']} {job['metadata']['id']} has printed nothing yet: it is {job['status']['state']}")
    return exits.OK


def _insist_on_task(options: argparse.Namespace, session: Session, job: dict[str, Any]) -> None:
    """
    Raises:
        NotFound: the job does not have the index, attempt or rank that was asked for.
    """
    from bushel.client.operations import logs

    if is_array(job) and options.index is None:
        return
    index = options.index if is_array(job) else None
    session.call(logs.log_page(job["metadata"]["id"], index=index, attempt=options.attempt, rank=options.rank or 0, limit_bytes=1))


def _print_task(options: argparse.Namespace, session: Session, job: dict[str, Any], printer: Printer, task: tuple[int, int, int]) -> None:
    from bushel.client.operations import logs

    index, attempt, rank = task
    offset = 0
    while True:
        page = session.call(
            logs.log_page(
                job["metadata"]["id"],
                index=index if is_array(job) else None,
                attempt=attempt,
                rank=rank,
                stream=options.stream,
                offset=offset if options.tail is None else None,
                tail=options.tail,
                limit_bytes=PAGE_BYTES,
            )
        )
        if page.dropped and offset == 0 and options.tail is None:
            first, _, stop = page.dropped.partition("-")
            printer.show(LogNotice("dropped", {"dropped_bytes": int(stop) - int(first), "index": index, "rank": rank}))
        for record in page.records:
            printer.show(record)
        if options.tail is not None or page.next_offset <= offset or page.next_offset >= page.size_bytes:
            return
        offset = page.next_offset


def _tasks(options: argparse.Namespace, session: Session, job: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Index, attempt and rank of each task whose output is asked for: of the latest attempt of each element, unless one is named."""
    from bushel.client.operations import jobs

    latest: dict[int, dict[str, Any]] = {}
    for attempt in session.pages(lambda page: jobs.attempts_page(job["metadata"]["id"], index=options.index, page=page)):
        wanted = options.attempt is None or attempt["number"] == options.attempt
        if wanted and attempt["number"] >= latest.get(attempt["index"], attempt)["number"]:
            latest[attempt["index"]] = attempt
    tasks = []
    for index, attempt in sorted(latest.items()):
        ranks = range(max((part["ranks"][1] for part in attempt["placement"]), default=1))
        tasks += [(index, attempt["number"], rank) for rank in ranks if options.rank is None or rank == options.rank]
    return tasks


def _several_tasks(job: dict[str, Any], options: argparse.Namespace) -> bool:
    return (is_array(job) and options.index is None) or (gang_size(job) > 1 and options.rank is None)


COMMANDS = {
    "logs": Command(
        "show what a job prints",
        _run,
        _arguments,
        description="Show what a job prints. A stream that breaks off and cannot be taken up again exits with 1 and says how to go on.",
        examples="  bushel logs -f k7q2m\n  bushel logs k7q2m --index 17 --stream stderr\n  bushel logs train --rank 0 --tail 20",
        output=False,
    )
}
