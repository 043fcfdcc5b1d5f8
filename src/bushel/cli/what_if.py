"""`bushel what-if`: the past of this installation under changed rules, replayed by a program of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.mistakes import Wrong
from bushel.cli.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EXAMPLES = """\
  bushel what-if --add 8xH100:8
  bushel what-if --days 30 --queue team-b:guarantee=none
  bushel what-if --policy patient:patience_seconds=3600 --policy still:reclaim=no"""

_PAGE_ITEMS = 500
_CHANGES = ("policy", "queue", "add", "remove")
_GRACE_SECONDS = 30.0
"""More than its own time-out: it ends by itself unless something is very wrong."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=float, default=7.0, metavar="N", help="how far back, by submission (default 7)")
    parser.add_argument(
        "--policy", action="append", default=[], metavar="NAME[:KEY=VALUE,…]", help="may be given more than once: A beside B"
    )
    parser.add_argument(
        "--queue", action="append", default=[], metavar="NAME:CHANGE,…", help="weight=500, guarantee.H100=16, quota.cpu=64, guarantee=none"
    )
    parser.add_argument("--add", action="append", default=[], metavar="NODES", help="8xH100:8, 40x32c/128g")
    parser.add_argument("--remove", action="append", default=[], metavar="NODE", help="nodes of this name; * stands for anything")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="samples of that past: the first is what happened (default 5)")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="give up after so long (default 600)")
    parser.add_argument("--save", metavar="FILE", help="write the jobs there, for `bushel simulate`, and replay nothing")
    parser.add_argument("--json", action="store_true", help="print records instead of the table")


def _what_if(options: argparse.Namespace, session: Session) -> int:
    if not options.save and not any(getattr(options, name) for name in _CHANGES):
        raise Wrong("nothing is changed", suggestion="bushel what-if --add 8xH100:8, or --policy, --queue, --remove")
    if not 0 < options.days <= 3660:
        raise Wrong(f"--days is {options.days:g}: a number of days, more than 0")
    if not 0 < options.timeout <= 86_400:
        raise Wrong(f"--timeout is {options.timeout:g}: seconds, more than 0 and at most a day")
    told = installation(session, options.days, options.timeout)
    if options.save:
        with open(options.save, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(job) + "\n" for job in told["jobs"])
        session.note(f"wrote {len(told['jobs']):,} jobs to {options.save}")
        return exits.OK
    words = [sys.executable, "-m", "bushel.simulation.replay", f"--seeds={options.seeds}", f"--timeout={options.timeout}"]
    words += [f"--{name}={value}" for name in _CHANGES for value in getattr(options, name)] + (["--json"] if options.json else [])
    with tempfile.TemporaryDirectory(prefix="bushel-what-if-") as folder:
        file = os.path.join(folder, "installation.json")
        with open(file, "w", encoding="utf-8") as text:
            json.dump(told, text)
        session.out.flush()
        try:
            return subprocess.run([*words, "--", file], timeout=options.timeout + _GRACE_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            raise Wrong(f"not done within {options.timeout:g} s", suggestion="fewer --days or --seeds") from None


def installation(session: Session, days: float, timeout_seconds: float) -> dict[str, list[Any]]:
    """What one may see of jobs, nodes and queues."""
    from bushel.cli.times import moment
    from bushel.client.operations import fleet, jobs, tenancy

    since, until = moment(f"{days * 86400:.0f}s"), time.monotonic() + timeout_seconds
    found: list[Any] = []
    for job in session.pages(lambda page: jobs.history_page(project=session.project, since=since, limit=_PAGE_ITEMS, page=page)):
        found.append(job)
        if len(found) % 5000 == 0:
            session.note(f"{len(found):,} jobs read")
            if time.monotonic() > until:
                raise Wrong(f"the jobs alone took {timeout_seconds:g} s to read", suggestion="fewer --days, or a longer --timeout")
    nodes = list(session.pages(lambda page: fleet.nodes_page(limit=_PAGE_ITEMS, page=page)))
    queues = list(session.pages(lambda page: tenancy.queues_page(limit=_PAGE_ITEMS, page=page)))
    return {"jobs": found, "nodes": nodes, "queues": queues}


COMMANDS = {
    "what-if": Command(
        "replay the past under a changed policy, quota or fleet",
        _what_if,
        _arguments,
        description="Replay the past of this installation, as far as you may see it, under a changed policy, quota or fleet.",
        examples=_EXAMPLES,
        output=False,
    )
}
