"""`bushel top`: what runs, where, and how far it is."""

from __future__ import annotations

import argparse
import time

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.get import running_for
from bushel.cli.job_views import job_name, places, progress, state_style
from bushel.cli.live import Live
from bushel.cli.output import Column, show_list, table
from bushel.cli.session import Session

LIVE = ("starting", "running", "stopping")

COLUMNS = (
    Column("ID", job_name),
    Column("NAME", lambda job: job["metadata"]["name"], least=10),
    Column("STATE", lambda job: job["status"]["state"], style=state_style),
    Column("QUEUE", lambda job: job["metadata"]["queue"], least=6, weight=1),
    Column("RUNNING", lambda job: f"{job['status']['counts']['running']:,}", right=True, weight=2),
    Column("FOR", lambda job: running_for(job["status"]), right=True),
    Column("PROGRESS", progress, least=8, weight=4),
    Column("ON", places, least=10, weight=3),
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-w", "--watch", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("-n", "--limit", metavar="N", type=int, default=30, help="at most so many; default 30")


def _run(options: argparse.Namespace, session: Session) -> int:
    from bushel.client.operations import jobs

    list_running = jobs.list_page(project=session.project, states=LIVE, limit=options.limit)
    if not (options.watch and session.err.isatty() and session.for_people):
        show_list(session, session.call(list_running)["items"], COLUMNS, name=job_name, empty="nothing runs")
        return exits.OK
    try:
        with Live(session) as live:
            while True:
                items = session.call(list_running)["items"]
                live.show(table(session, items, COLUMNS) if items else ["nothing runs"])
                time.sleep(1.0)
    except KeyboardInterrupt:
        return exits.INTERRUPTED


COMMANDS = {"top": Command("show what runs and how far it is", _run, _arguments)}
