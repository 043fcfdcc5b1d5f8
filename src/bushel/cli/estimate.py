"""`bushel estimate`: when a job that waits, or one that is not submitted yet, is likely to start."""

from __future__ import annotations

import argparse

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.job_options import add_job_options, show_problems
from bushel.cli.mistakes import Wrong
from bushel.cli.output import show_object
from bushel.cli.session import Session
from bushel.cli.submit import gather
from bushel.cli.words import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

EXAMPLES = """  bushel estimate train
  bushel estimate --file job.yaml
  bushel estimate --gpu H100:8 -- python train.py"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "bushel estimate [OPTIONS] JOB | --file FILE | -- COMMAND ..."
    parser.add_argument("job", metavar="JOB", nargs="?", help="id, or a name: the newest job of that name")
    parser.add_argument("--file", metavar="FILE", help="a job document that is not submitted; - is standard input")
    add_job_options(parser)


def _run(options: argparse.Namespace, session: Session) -> int:
    from bushel.client.operations import jobs

    if options.job:
        if options.file or session.command:
            raise Wrong("a job that is there, or one that is not: not both", suggestion="bushel estimate JOB")
        found: dict[str, Any] = dict(session.call(jobs.estimate(options.job, project=session.project)))
    else:
        options.files = [options.file] if options.file else []
        values, sources, flags = gather(options, session, "estimate")
        if len(values) != 1:
            raise Wrong(f"an estimate is of one job; {options.file} has {len(values)}")
        try:
            found = dict(session.call(jobs.estimate_document(values[0], project=session.project)))
        except Exception as error:
            if getattr(error, "code", None) != "invalid_document":
                raise
            show_problems(session, error, sources, flags, batch=False)  # type: ignore[arg-type]
            return exits.USAGE
    show_object(session, found, name=lambda one: one["job"] or one["name"], lines=lambda one: lines(one, session))
    return exits.OK


def lines(found: dict[str, Any], session: Session) -> Iterator[str]:
    """The sentence, then what it rests on."""
    job = f" {found['job']}" if found["job"] else ""
    yield f"{session.paint(found['name'], 'bold')}{job}: {plain(found['sentence'])} (queue {found['queue']})"
    if found["start"]:
        start = found["start"]
        yield ""
        yield f"  likely     {start['median_at'][:16].replace('T', ' ')} UTC"
        yield f"  between    {start['low_at'][:16].replace('T', ' ')} and {start['high_at'][:16].replace('T', ' ')} UTC"
        yield f"  known      {plain(found['basis'])}"


COMMANDS = {
    "estimate": Command(
        "say when a job is likely to start",
        _run,
        _arguments,
        description="Say when a job that waits, or one that is not submitted, is likely to start: four starts of five lie in the interval.",
        examples=EXAMPLES,
    )
}
