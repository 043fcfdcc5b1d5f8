"""`bushel describe`: a job's story in the order of time, with the causes named."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.get import next_steps, run_text, title, usage_text
from bushel.cli.job_views import detail, gang_size, is_array, job_name, task_progress
from bushel.cli.session import Session
from bushel.cli.words import clock, duration, epoch_seconds, plain, plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MOST_ATTEMPTS = 500
"""Most attempts that are read; of an array the story tells of those that went wrong."""

WRONG_SHOWN = 10

Entry = tuple[str, list[str]]
"""When, and what to say: the first line stands beside the time, others below it."""

_EVENTS = {
    "job.held": "held",
    "job.queued": "released",
    "job.stopping": "told to stop",
    "job.succeeded": "succeeded",
    "job.failed": "failed",
    "job.cancelled": "cancelled",
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="id, or a name: the newest job of that name")


def _run(options: argparse.Namespace, session: Session) -> None:
    from bushel.client.operations import events, jobs

    job: dict[str, Any] = dict(session.call(jobs.get(options.job, project=session.project)))
    job_id = job_name(job)
    attempts: list[dict[str, Any]] = []
    for attempt in session.pages(lambda page: jobs.attempts_page(job_id, limit=MOST_ATTEMPTS, page=page)):
        attempts.append(attempt)
        if len(attempts) >= MOST_ATTEMPTS:
            break
    kinds = ("job.",)
    happened = list(session.pages(lambda page: events.events_page(job=job_id, kinds=kinds, limit=200, page=page)))
    if not session.for_people:
        from bushel.cli.output import show_object

        show_object(session, {**job, "attempts": attempts, "events": happened}, name=job_name, lines=lambda _: ())
        return
    for line in story(job, attempts, happened, session):
        session.say(line)
    steps = next_steps(job)
    if steps:
        session.next(*steps)


def story(job: dict[str, Any], attempts: list[dict[str, Any]], happened: list[dict[str, Any]], session: Session) -> Iterator[str]:
    """Title, facts in the order of time, what it has come to."""
    yield title(job, session)
    yield f"  {run_text(job.get('spec') or {})}"
    entries = [_submitted(job, happened)]
    entries += [
        entry for event in _by_version(happened) if (entry := _of_event(event)) is not None and not _told_by_attempt(event, attempts)
    ]
    if is_array(job):
        entries += _of_array(attempts)
    else:
        entries += [entry for attempt in attempts for entry in _of_attempt(attempt)]
    today = _same_day(entries)
    column = 8 if today else 19
    for at, texts in sorted(entries, key=lambda entry: epoch_seconds(entry[0])):
        yield f"  {clock(at, today=today):<{column}}  {texts[0]}"
        yield from (f"  {'':<{column}}  {text}" for text in texts[1:])
    yield from _outlook(job, attempts)


def _by_version(happened: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """In the order in which the job's row changed. A transaction that waited for another began first and changed it last."""
    ordered = sorted(happened, key=lambda event: event["body"].get("version", 0))
    at = ordered[0]["at"] if ordered else ""
    for event in ordered:
        at = max(at, event["at"], key=epoch_seconds)
        yield {**event, "at": at}


def _same_day(entries: list[Entry]) -> bool:
    return all(len(clock(at)) == 8 for at, _ in entries)


def _submitted(job: dict[str, Any], happened: list[dict[str, Any]]) -> Entry:
    metadata = job["metadata"]
    request = next((event["body"].get("request_id") for event in happened if event["kind"] == "job.submitted"), None)
    total = job["status"]["counts"]["total"]
    parts = [f"submitted by {metadata['submitter']}"]
    if total > 1:
        parts[0] += f", {plural(total, 'index', 'indices')}"
    tasks = gang_size(job)
    if tasks > 1:
        parts[0] += f", a gang of {tasks:,} tasks"
    if metadata["retry_of"]:
        parts[0] += f", a retry of {metadata['retry_of']}"
    if request:
        parts[0] += f" (request {request})"
    return metadata["submitted_at"], parts


def _of_event(event: dict[str, Any]) -> Entry | None:
    word = _EVENTS.get(event["kind"])
    if word is None:
        return None
    if event["kind"] == "job.queued":  # by itself, or because somebody let it go
        return None if _is_machinery(event["actor"]) else (event["at"], [f"{word} by {plain(event['actor'])}"])
    body, text = event["body"], word
    if event["kind"] in ("job.stopping", "job.cancelled") and not _is_machinery(event["actor"]):
        text += f" by {plain(event['actor'])}"
    why = _why(body)
    return event["at"], [text + (f": {why}" if why and why not in (text, f"cancelled by {plain(event['actor'])}") else "")]


def _told_by_attempt(event: dict[str, Any], attempts: list[dict[str, Any]]) -> bool:
    """Whether the end of the last attempt says the same as the end of the job."""
    single = all(attempt["index"] == attempts[0]["index"] for attempt in attempts)
    return bool(attempts) and single and event["kind"] == f"job.{attempts[-1]['outcome']}"


def _is_machinery(actor: str) -> bool:
    return "/" in actor or actor in ("controller", "scheduler", "bootstrap", "agent", "system") or actor.startswith(("agent", "control"))


def _why(body: dict[str, Any]) -> str:
    if body.get("message"):
        return plain(body["message"])
    if body.get("exit_code"):
        return f"exit code {body['exit_code']}"
    return str(body.get("reason") or "").replace("_", " ")


def _of_attempt(attempt: dict[str, Any]) -> list[Entry]:
    name = f"attempt {attempt['number']}"
    where = _where(attempt)
    entries: list[Entry] = []
    if attempt["started_at"]:
        entries.append((attempt["started_at"], [f"{name} started on {where}"]))
    else:
        entries.append((attempt["created_at"], [f"{name} sent to {where}"]))
    if attempt["ended_at"]:
        entries.append((attempt["ended_at"], _ending(name, attempt)))
    return entries


def _where(attempt: dict[str, Any]) -> str:
    nodes = list(dict.fromkeys(part["node"] for part in attempt["placement"]))
    shown = ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")
    return f"{shown or 'no node'} (cluster {attempt['cluster']})"


def _ending(name: str, attempt: dict[str, Any]) -> list[str]:
    outcome = "was lost" if attempt["outcome"] == "lost" else attempt["outcome"]
    why = plain(attempt["message"]) if attempt["message"] else ""
    if not why and attempt["exit_code"]:
        why = f"exit code {attempt['exit_code']}"
    if not why and attempt["reason"] not in (None, "cancelled_by_user"):  # who cancelled it is told by itself
        why = str(attempt["reason"]).replace("_", " ")
    lasted = ""
    if attempt["started_at"]:
        seconds = epoch_seconds(attempt["ended_at"]) - epoch_seconds(attempt["started_at"])
        lasted = f" after {duration(seconds)}" if seconds >= 0.05 else " at once"
    why = _rank_that_failed(attempt) + why if why else why
    texts = [f"{name} {outcome}{lasted}" + (f": {why}" if why and attempt["outcome"] != "succeeded" else "")]
    if attempt["failure_class"] in ("infrastructure", "preempted"):
        texts.append(f"counted as {attempt['failure_class']}, not against your retries")
    elif attempt["failure_class"] and attempt["outcome"] == "failed":
        texts[0] += f" ({attempt['failure_class']})"
    if used := usage_text(attempt["usage"] or {}):
        texts.append(f"used {used}")
    return texts


def _rank_that_failed(attempt: dict[str, Any]) -> str:
    """`rank 3: ` of a gang of which one failed by itself; the others were stopped because of it."""
    if sum(part["ranks"][1] - part["ranks"][0] for part in attempt["placement"]) < 2:
        return ""
    ranks = [task["rank"] for task in attempt.get("tasks") or () if task.get("reason") not in (None, "sibling_failed")]
    return f"rank {ranks[0]}: " if len(ranks) == 1 else ""


def _of_array(attempts: list[dict[str, Any]]) -> list[Entry]:
    wrong = [attempt for attempt in attempts if attempt["outcome"] in ("failed", "lost", "preempted")]
    entries: list[Entry] = []
    for attempt in wrong[:WRONG_SHOWN]:
        first, *_ = _ending(f"index {attempt['index']}, attempt {attempt['number']},", attempt)
        entries.append((attempt["ended_at"], [f"{first}, on {_where(attempt)}"]))
    if len(wrong) > WRONG_SHOWN and entries:
        entries[-1][1].append(f"and {plural(len(wrong) - WRONG_SHOWN, 'more attempt')} that went wrong")
    return entries


def _outlook(job: dict[str, Any], attempts: list[dict[str, Any]]) -> Iterator[str]:
    from bushel.cli.wait import progress_line

    status = job["status"]
    if is_array(job):
        yield f"  indices   {progress_line(job).partition('  ')[2]}"
        failed = (status.get("ranges") or {}).get("failed")
        if failed:
            yield f"  failed    {failed}"
    elif task_progress(status.get("progress")):
        yield f"  progress  {task_progress(status['progress'])}"
    if status["state"] in ("held", "queued") and detail(job):
        yield f"  waits     {detail(job)}"
    used = usage_text(status.get("usage") or {})
    if used and len(attempts) > 1:
        yield f"  used      {used} in all"


COMMANDS = {"describe": Command("tell a job's story in the order of time", _run, _arguments)}
