"""`bushel submit`: jobs out of files, standard input or flags, all or none."""

from __future__ import annotations

import argparse
import os

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.job_options import (
    add_job_options,
    fields_of_flags,
    merge,
    read_files,
    retrying,
    run_of_words,
    show_problems,
    upload_workdirs,
)
from bushel.cli.mistakes import Wrong
from bushel.cli.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from bushel.client.documents import Source

EXAMPLES = """  bushel submit job.yaml
  bushel submit --workdir . --cpu 4 --memory 8GiB -- python train.py
  bushel submit --workdir . --array 0-999%50 -- 'python part.py $BUSHEL_TASK_INDEX'
  ID=$(bushel submit -o name -- ./build.sh) && bushel submit --after $ID -- ./test.sh"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "bushel submit [OPTIONS] [FILE ...] [-- COMMAND ...]"
    parser.add_argument("files", metavar="FILE", nargs="*", help="YAML, several documents allowed; - is standard input")
    add_job_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="check it all and show the jobs as they would be; submit nothing")
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key and jobs again give the same jobs, not new ones")


def gather(options: argparse.Namespace, session: Session, verb: str) -> tuple[list[dict[str, Any]], list[Source | None], dict[str, Any]]:
    """The documents to send, where each was read, and what the flags said."""
    flags = fields_of_flags(options)
    if session.command:
        flags["run"] = run_of_words(session.command)
    files = getattr(options, "files", [])
    if not files:
        if not session.command:
            raise Wrong(
                "nothing to run", suggestion=f"bushel {verb} {'--file ' if verb == 'estimate' else ''}FILE, or bushel {verb} -- COMMAND"
            )
        return [retrying(dict(flags), flags)], [None], flags
    documents = read_files(files, may_be_command=verb != "estimate")
    if session.command and len(documents) > 1:
        raise Wrong("one command cannot stand for several documents")
    return [merge(document.value, flags) for document in documents], [document.source for document in documents], flags


def _left_behind(command: Sequence[str]) -> str | None:
    """A file that the command seems to mean, and that lies only here."""
    return next((word for word in " ".join(command).split() if not os.path.isabs(word) and os.path.isfile(word)), None)


def submit(options: argparse.Namespace, session: Session, *, verb: str = "submit") -> list[dict[str, Any]] | None:
    """The jobs as the server has them; None when the documents were wrong, which has been said. `verb` is the command's name."""
    from bushel.client.operations import jobs

    values, sources, flags = gather(options, session, verb)
    # What a file says begins where the file lies, what a flag says where the person stands.
    folders = [os.path.dirname(source.file) if source is not None and "workdir" not in flags else "." for source in sources]
    batch = len(values) > 1
    left = _left_behind(session.command) if not {"workdir", "image"} & values[0].keys() else None
    if left and session.for_people:
        session.note(f"{left} of this folder does not travel with the job unless you say: --workdir .")
    dry_run, key = getattr(options, "dry_run", False), getattr(options, "idempotency_key", None)
    try:
        upload_workdirs(session, values, folders)
        if batch:
            many = jobs.submit_many(values, project=session.project, dry_run=dry_run, idempotency_key=key)
            return [dict(job) for job in session.call(many)["items"]]
        one = jobs.submit(values[0], project=session.project, dry_run=dry_run, idempotency_key=key)
        return [dict(session.call(one))]
    except Exception as error:
        if getattr(error, "code", None) != "invalid_document":
            raise
        show_problems(session, error, sources, flags, batch=batch)  # type: ignore[arg-type]
        return None


def _run(options: argparse.Namespace, session: Session) -> int:
    from bushel.cli.job_views import job_name
    from bushel.cli.output import show_list, show_object

    submitted = submit(options, session)
    if submitted is None:
        return exits.USAGE
    if session.for_people:
        for job in submitted[:20]:
            for line in submitted_lines(job, session, dry_run=options.dry_run):
                session.say(line)
        if len(submitted) == 1 and not options.dry_run and session.out.isatty():
            start = _why_not_at_once(session, submitted[0])
            if start:
                session.say(f"  waits   {start}")
                if likely := _likely_start(session, submitted[0]):
                    session.say(f"  likely  {likely}")
        if len(submitted) > 20:
            session.say(f"and {len(submitted) - 20:,} more")
        _say_next(session, submitted, options.dry_run)
    elif len(submitted) == 1:
        show_object(session, submitted[0], name=job_name, lines=lambda _: ())
    else:
        show_list(session, submitted, (), name=job_name, empty="")
    return exits.OK


def submitted_lines(job: dict[str, Any], session: Session, *, dry_run: bool = False) -> list[str]:
    """When, how much, how to follow. Nothing else."""
    from bushel.cli.words import plain, plural

    metadata, status = job["metadata"], job["status"]
    total = status["counts"]["total"]
    what = f" as {plural(total, 'index', 'indices')}" if total > 1 else ""
    if dry_run:
        lines = [f"{metadata['name']} would be {status['state']} in {metadata['project']}, queue {metadata['queue']}{what}"]
    else:
        state = session.paint(status["state"], "bold")
        lines = [f"{metadata['name']} {session.paint(metadata['id'], 'bold')} {state} in {metadata['project']}{what}"]
    if status.get("message"):
        lines.append(f"  {plain(status['message'])}")
    return lines


def _why_not_at_once(session: Session, job: dict[str, Any]) -> str | None:
    """Why it does not start at once, as the scheduler sees it; nothing where it does, or cannot be asked."""
    from bushel.cli.words import plain
    from bushel.client.operations import jobs
    from bushel.domain.errors import BushelError

    if job["status"]["state"] != "queued":
        return None
    try:
        explanation = session.call(jobs.explain(job["metadata"]["id"]))
    except BushelError:
        return None
    if explanation["waited_seconds"] is None or explanation["starts_now"]:
        return None
    return plain(explanation["sentence"].partition(": ")[2] or explanation["sentence"])


def _likely_start(session: Session, job: dict[str, Any]) -> str | None:
    """When it is likely to start; nothing where the past is too short to say more than a guess."""
    from bushel.cli.words import plain
    from bushel.client.operations import jobs
    from bushel.domain.errors import BushelError

    try:
        found = session.call(jobs.estimate(job["metadata"]["id"]))
    except BushelError:
        return None
    return plain(found["sentence"]) if found["start"] and not found["basis"].startswith("a wide guess") else None


def _say_next(session: Session, submitted: list[dict[str, Any]], dry_run: bool) -> None:
    from bushel.cli.job_views import TERMINAL_STATES

    if dry_run:
        return
    if len(submitted) == 1:
        job = submitted[0]["metadata"]["id"]
        if submitted[0]["status"]["state"] in TERMINAL_STATES:  # it cannot start any more, or was submitted before
            session.next(f"bushel describe {job}")
        elif submitted[0]["status"]["state"] == "held" and submitted[0]["status"].get("reason") == "user_hold":
            session.next(f"bushel release {job}", f"bushel cancel {job}")
        elif submitted[0]["status"]["counts"]["total"] > 1:
            session.next(f"bushel wait {job}", f"bushel explain {job}", f"bushel cancel {job}")
        else:
            session.next(f"bushel logs -f {job}", f"bushel explain {job}", f"bushel cancel {job}")
    else:
        session.next(
            "bushel ls",
            "bushel wait " + " ".join(str(job["metadata"]["id"]) for job in submitted[:3]) + (" …" if len(submitted) > 3 else ""),
        )


COMMANDS = {
    "submit": Command(
        "submit jobs from files, standard input or flags",
        _run,
        _arguments,
        description="Submit jobs from files, standard input or flags: all of them, or none if one is wrong.",
        examples=EXAMPLES,
    )
}
