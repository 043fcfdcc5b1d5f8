"""`bushel whoami`: who you are, what you may do, and which Bushel that is."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.output import show_object
from bushel.cli.session import Session
from bushel.client.operations import tenancy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _run(_: argparse.Namespace, session: Session) -> None:
    show_object(session, session.call(tenancy.whoami()), name=lambda me: me["name"], lines=lambda me: _lines(me, session))


def _lines(me: dict[str, Any], session: Session) -> list[str]:
    lines = [f"{me['name']}   {me['kind']}, at {session.context.url} ({session.context.source})"]
    lines += [f"  {role:<9} of {scope}" for scope, role in sorted(me["roles"].items())] or ["  no role anywhere"]
    if list(me["token_scopes"]) == ["read"]:
        lines.append("  this token may look but not change")
    return lines


COMMANDS = {"whoami": Command("show who you are and what you may do", _run)}
