"""`bushel version`."""

from __future__ import annotations

import argparse

from bushel import __version__
from bushel.cli.command import Command
from bushel.cli.session import Session


def _run(_: argparse.Namespace, session: Session) -> None:
    session.say(f"bushel {__version__}")


COMMANDS = {"version": Command("print the version", _run, output=False, connects=False)}
