"""`bushel get`: jobs as they are now."""

from __future__ import annotations

import argparse
import time

from bushel.cli.command import Command
from bushel.cli.job_views import detail, is_array, job_name, places, state_style, task_progress
from bushel.cli.ls import COLUMNS
from bushel.cli.output import show_list, show_object
from bushel.cli.session import Session
from bushel.cli.words import ago, duration, epoch_seconds, plain, plural, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", metavar="JOB", nargs="+", help="id, or a name: the newest job of that name")


def _run(options: argparse.Namespace, session: Session) -> None:
    from bushel.client.operations import jobs

    found: list[Any] = [session.call(jobs.get(reference, project=session.project)) for reference in options.jobs]
    if len(found) == 1:
        show_object(session, found[0], name=job_name, lines=lambda job: lines(job, session))
        if session.for_people:
            session.next(f"bushel describe {job_name(found[0])}", *next_steps(found[0]))
    else:
        show_list(session, found, COLUMNS, name=job_name, empty="")


def next_steps(job: dict[str, Any]) -> list[str]:
    """What to do next about a job in this state."""
    job_id, status = job_name(job), job["status"]
    if status["state"] == "queued":
        return [f"bushel explain {job_id}"]
    if status["state"] == "held":
        return [f"bushel release {job_id}"] if status["reason"] == "user_hold" else [f"bushel explain {job_id}"]
    if status["state"] == "failed":
        failed = (status.get("ranges") or {}).get("failed")
        index = f" --index {failed.partition(',')[0].partition('-')[0]}" if failed else ""
        return [f"bushel logs {job_id}{index}", f"bushel retry {job_id}"]
    if status["state"] in ("starting", "running"):
        return [f"bushel wait {job_id}" if is_array(job) else f"bushel logs -f {job_id}"]
    return []


def title(job: dict[str, Any], session: Session) -> str:
    """`train-resnet k7q2m   running, attempt 2   research/vision   ada`."""
    metadata, status = job["metadata"], job["status"]
    attempt = status.get("attempt")
    state = session.paint(status["state"], *state_style(job))
    again = f", attempt {attempt}" if attempt and attempt > 1 else ""
    return f"{session.paint(metadata['name'], 'bold')} {metadata['id']}   {state}{again}   {metadata['project']}   {metadata['submitter']}"


def lines(job: dict[str, Any], session: Session) -> Iterator[str]:
    metadata, status, spec = job["metadata"], job["status"], job.get("spec") or {}
    yield title(job, session)
    if detail(job):
        yield f"  why       {detail(job)}"
    yield f"  runs      {run_text(spec)}"
    yield f"  queue     {metadata['queue']}, priority {spec.get('priority', 500)}"
    if is_array(job):
        yield from _array_lines(status)
    else:
        told = task_progress(status.get("progress"))
        if told:
            yield f"  progress  {told}"
        if status["placement"]:
            yield f"  on        {places(job)} (cluster {status['placement'][0]['cluster']})"
    yield f"  submitted {ago(metadata['submitted_at'])}"
    if status["started_at"]:
        yield f"  started   {ago(status['started_at'])}"
    if status["ended_at"] and status["started_at"]:
        yield f"  ended     {ago(status['ended_at'])}, after {_lasted(status)}"
    if used := usage_text(status.get("usage") or {}):
        yield f"  used      {used}"
    if metadata["retry_of"]:
        yield f"  retry of  {metadata['retry_of']}"
    if metadata["labels"]:
        yield f"  labels    {' '.join(f'{key}={plain(value)}' for key, value in metadata['labels'].items())}"


def _array_lines(status: dict[str, Any]) -> Iterator[str]:
    counts, ranges = status["counts"], status.get("ranges") or {}
    words = {"pending": "waiting", "delayed": "retrying"}
    parts = [f"{counts[name]:,} {words.get(name, name)}" for name in counts if name != "total" and counts[name]]
    yield f"  indices   {counts['total']:,}: {', '.join(parts)}"
    for name in ("failed", "cancelled"):
        if ranges.get(name):
            yield f"  {name:<9} {ranges[name]}" + (" …" if name in ranges.get("truncated", ()) else "")


def _lasted(status: dict[str, Any]) -> str:
    return duration(epoch_seconds(status["ended_at"]) - epoch_seconds(status["started_at"]))


def run_text(spec: dict[str, Any]) -> str:
    """The command in one line."""
    run = spec.get("run")
    if run is None:
        groups = spec.get("groups") or []
        return f"{plural(len(groups), 'group')}: " + ", ".join(f"{group.get('count', 1)} × {group['name']}" for group in groups)
    if isinstance(run, list):
        import shlex

        return plain(shlex.join(run))
    first, _, rest = run.strip().partition("\n")
    return plain(first) + (" …" if rest else "")


def usage_text(usage: dict[str, Any]) -> str:
    """`12.4 CPU-seconds, at most 1.5 GiB of memory, read 3 GiB, wrote 10 MiB`; nothing where hardly anything was used."""
    parts = []
    seconds = usage.get("cpu_seconds") or 0
    if seconds >= 0.005:
        parts.append(f"{seconds:,.1f} CPU-seconds" if seconds >= 1 else f"{seconds:.2f} CPU-seconds")
    if usage.get("peak_memory_bytes"):
        parts.append(f"at most {size(usage['peak_memory_bytes'])} of memory")
    if usage.get("read_bytes"):
        parts.append(f"read {size(usage['read_bytes'])}")
    if usage.get("written_bytes"):
        parts.append(f"wrote {size(usage['written_bytes'])}")
    return ", ".join(parts)


def running_for(status: dict[str, Any]) -> str:
    return duration(time.time() - epoch_seconds(status["started_at"])) if status.get("started_at") else ""


COMMANDS = {"get": Command("show a job as it is now", _run, _arguments, description="Show jobs as they are now.")}
