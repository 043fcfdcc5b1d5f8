"""`bushel ls`: jobs, the newest first."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.job_views import detail, is_array, job_name, places, progress, state_style, when
from bushel.cli.mistakes import at_least_one
from bushel.cli.output import Column, show_list
from bushel.cli.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATES = ("held", "queued", "starting", "running", "stopping", "succeeded", "failed", "cancelled")
LIVE_STATES = STATES[:5]
PAGE_ITEMS = 1000

COUNTED_TOTAL = 1000
"""Totals up to this are exact, as the server promises; larger ones are estimates."""

COLUMNS = (
    Column("ID", job_name),
    Column("NAME", lambda job: job["metadata"]["name"], least=10),
    Column("STATE", lambda job: job["status"]["state"], style=state_style),
    Column("QUEUE", lambda job: job["metadata"]["queue"], least=6, weight=2),
    Column("PROJECT", lambda job: job["metadata"]["project"], least=10, wide=True),
    Column("BY", lambda job: job["metadata"]["submitter"], least=6, weight=1),
    Column("SUBMITTED", when, weight=4),
    Column("PROGRESS", progress, least=8, weight=3),
    Column("ATTEMPT", lambda job: "" if is_array(job) else job["status"].get("attempt") or "", right=True, wide=True),
    Column("ON", places, least=10, wide=True),
    Column("WHY", detail, least=12, weight=5),
)


def add_filters(parser: argparse._ActionsContainer, states_help: str) -> None:
    """The flags that `filters` reads."""
    parser.add_argument("-s", "--state", action="append", default=[], metavar="STATE", choices=(*STATES, "live"), help=states_help)
    parser.add_argument("--queue", metavar="QUEUE")
    parser.add_argument("--by", metavar="NAME", help="who submitted it; me is you")
    parser.add_argument("--name", metavar="NAME", help="jobs of this name; train-* for those that begin so")
    parser.add_argument("--label", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--since", metavar="TIME", help="submitted since: 2h, 3d, or 2026-11-24T00:00:00Z")
    parser.add_argument("--before", metavar="TIME", help="submitted before")


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_filters(parser, f"{', '.join(STATES)}; or live: not ended")
    parser.add_argument("-n", "--limit", metavar="N", type=at_least_one, default=50, help="at most so many; default 50")
    parser.add_argument("--all", action="store_true", help="every job, however many")


def filters(options: argparse.Namespace, session: Session) -> dict[str, Any]:
    """What the flags select, as the operations take it."""
    states = list(LIVE_STATES) if "live" in options.state else []
    states += [state for state in options.state if state != "live" and state not in states]
    chosen: dict[str, Any] = {"project": session.project}
    if states:
        chosen["states"] = states
    if options.queue:
        chosen["queue"] = options.queue
    if options.by:
        chosen["submitter"] = options.by
    if options.name:
        chosen["name"] = options.name
    if options.label:
        from bushel.cli.job_options import labels

        chosen["labels"] = labels(options.label)
    for bound in ("since", "before"):
        if getattr(options, bound):
            from bushel.cli.times import moment

            chosen[bound] = moment(getattr(options, bound))
    return chosen


def _run(options: argparse.Namespace, session: Session) -> None:
    from bushel.client.operations import jobs

    chosen = filters(options, session)
    items: list[Any] = []
    page, total = None, None
    while True:
        wanted = PAGE_ITEMS if options.all else min(PAGE_ITEMS, options.limit - len(items))
        answer = session.call(jobs.list_page(**chosen, limit=max(1, wanted), page=page))
        items += answer["items"]
        total = answer.get("estimated_total") if total is None else total
        page = answer["next_page"]
        if page is None or (not options.all and len(items) >= options.limit):
            break
    empty = "no jobs match" if _filtered(options) else "no jobs yet\nNext: bushel run -- echo hello"
    show_list(session, items, COLUMNS, name=job_name, empty=empty)
    if page is not None and session.for_people:
        session.note(f"{how_many_more(total, len(items))}: bushel ls --limit {options.limit * 4}, or --all")


def how_many_more(total: int | None, shown: int) -> str:
    """`12 more` where the server has counted them, `about 1,230,000 more` where it estimates."""
    if not total or total <= shown:
        return "there are more"
    return f"{total - shown:,} more" if total <= COUNTED_TOTAL else f"about {_rounded(total - shown):,} more"


def _rounded(count: int) -> int:
    """Three digits that count."""
    unit = 10 ** max(0, len(str(count)) - 3)
    return count // unit * unit


def _filtered(options: argparse.Namespace) -> bool:
    return any((options.state, options.queue, options.by, options.name, options.label, options.since, options.before))


COMMANDS = {"ls": Command("list jobs", _run, _arguments, description="List jobs, the newest first.")}
