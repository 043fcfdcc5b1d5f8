"""`bushel run`: a job as if it were a local program: its output, its exit code."""

from __future__ import annotations

import argparse

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.following import PATIENCE_SECONDS, Printer, follow_output
from bushel.cli.job_options import add_job_options
from bushel.cli.job_views import gang_size, is_array
from bushel.cli.mistakes import Wrong
from bushel.cli.session import Session
from bushel.cli.submit import submit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_EXITS = {"succeeded": exits.OK, "failed": exits.JOB_FAILED, "cancelled": exits.JOB_CANCELLED}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "bushel run [OPTIONS] [FILE | -- COMMAND ...]"
    parser.add_argument("files", metavar="FILE", nargs="*", help="YAML with one document; - is standard input")
    add_job_options(parser)
    parser.add_argument("-t", "--timestamps", action="store_true", help="say when each line was written")


def _run(options: argparse.Namespace, session: Session) -> int:
    from bushel.client.operations import jobs, logs

    if options.hold:
        raise Wrong("a held job does not run", suggestion="bushel submit --hold")
    submitted = submit(options, session, verb="run")
    if submitted is None:
        return exits.USAGE
    if len(submitted) > 1:
        raise Wrong(f"{len(submitted)} jobs were submitted, and run follows one", suggestion="bushel submit, then bushel wait")
    job = submitted[0]
    job_id = job["metadata"]["id"]
    session.note(f"{job['metadata']['name']} {job_id} {job['status']['state']} in {job['metadata']['project']}")
    printer = Printer(session, apart=True, prefix=gang_size(job) > 1, times=options.timestamps, array=False)
    stream = logs.follow_logs(job_id, patience_seconds=PATIENCE_SECONDS)
    try:
        if is_array(job):
            return _run_array(session, job_id)
        end = follow_output(session, job, stream, printer)
        job = dict(session.call(jobs.get(job_id)))
    except KeyboardInterrupt:
        session.note(f"\nDetached; {job_id} goes on.\nNext: bushel logs -f {job_id} · bushel wait {job_id} · bushel cancel {job_id}")
        return exits.INTERRUPTED
    return _finish(session, job, complete=bool(end.get("complete", True)) and printer.complete)


def _run_array(session: Session, job_id: str) -> int:
    """The output of an array is too much to follow: its progress stands for it."""
    from bushel.cli.wait import Waiting, exit_code_of, result_line, wait_for

    waiting = Waiting(session, [job_id])
    wait_for(session, waiting)
    job = waiting.jobs[job_id]
    if job is None:
        return exits.JOB_NOT_FOUND
    session.note(result_line(job))
    failed = (job["status"].get("ranges") or {}).get("failed")
    session.next(f"bushel logs {job_id}" + (f" --index {failed.partition(',')[0].partition('-')[0]}" if failed else ""))
    return exit_code_of(waiting.jobs)


def _finish(session: Session, job: Mapping[str, Any], *, complete: bool) -> int:
    """The task's own exit code where it has one."""
    from bushel.cli.wait import result_line

    state, exit_code = job["status"]["state"], job["status"].get("exit_code")
    session.out.flush()
    if state != "succeeded" or session.err.isatty():
        session.note(result_line(job))
    if not complete:
        session.note(f"Some of the output was never received.\nNext: bushel describe {job['metadata']['id']}")
    if state == "failed" and exit_code:
        return min(int(exit_code), 255) if int(exit_code) > 0 else exits.JOB_FAILED
    return _EXITS.get(state, exits.JOB_NOT_FINISHED) or (exits.OK if complete else exits.ERROR)


COMMANDS = {
    "run": Command(
        "submit a job, follow its output and take its exit code",
        _run,
        _arguments,
        description="Submit a job, follow its output and take its exit code. Ctrl-C detaches: the job goes on.",
        examples="  bushel run -- echo hello\n  bushel run --gpu 1 --workdir . -- python train.py",
        output=False,
    )
}
