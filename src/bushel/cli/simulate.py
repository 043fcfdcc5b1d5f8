"""`bushel simulate`: a trace replayed in virtual time, by a program of its own, so that nothing of it burdens this one."""

from __future__ import annotations

import argparse
import subprocess
import sys

from bushel.cli.command import Command
from bushel.cli.session import Session

_EXAMPLES = """\
  bushel simulate trace.swf --nodes 128x32c
  bushel simulate team-*.csv --nodes 20xV100:8 --policy default --policy patient:patience_seconds=3600 --figures pictures
  bushel what-if --days 30 --save history.jsonl && bushel simulate history.jsonl --nodes 16xH100:8,4xH100:8:spot --spot-reclaims 86400"""

_VALUES = {"nodes": "NODES", "jobs": "N", "seed": "N", "period": "SECONDS", "figures": "FOLDER", "parquet": "FOLDER"}
_HELP = {
    "nodes": "16xV100:8, 40x32c/128g, 8xH100:8:spot, joined by commas; or a CSV of nodes",
    "jobs": "only the first N arrivals",
    "seed": "of what goes wrong (default 1)",
    "period": "plan no more often (default: at every change)",
    "figures": "write pictures there",
    "parquet": "write columns there",
    "node-failures": "mean time between failures of a node (default: none)",
    "spot-reclaims": "mean time until a spot node is taken back (default: never)",
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", nargs="+", metavar="TRACE", help="SWF, openb, gangs, or jobs as JSON lines or CSV")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME[:KEY=VALUE,…]", help="may be given more than once")
    for name, help in _HELP.items():
        parser.add_argument(f"--{name}", metavar=_VALUES.get(name, "SECONDS"), help=help, required=name == "nodes")
    parser.add_argument("--estimates", action="store_true", help="also try start estimates on every job that waits")
    parser.add_argument("--json", action="store_true", help="print records instead of the table")


def _simulate(options: argparse.Namespace, session: Session) -> int:
    words = [sys.executable, "-m", "bushel.simulation"]
    for name in _HELP:
        value = getattr(options, name.replace("-", "_"))
        words += [f"--{name}={value}"] if value is not None else []
    words += [f"--policy={policy}" for policy in options.policy]
    words += [f"--{name}" for name in ("estimates", "json") if getattr(options, name)]
    session.out.flush()
    return subprocess.call([*words, "--", *options.trace])


COMMANDS = {
    "simulate": Command(
        "replay a trace in virtual time, under one policy or several",
        _simulate,
        _arguments,
        description="The scheduler's own plan and the life cycle of jobs, on nodes that are not there.",
        examples=_EXAMPLES,
        output=False,
        connects=False,
    )
}
