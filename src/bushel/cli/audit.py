"""`bushel audit`: who changed what."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.mistakes import at_least_one
from bushel.cli.output import Column, show_list
from bushel.cli.session import Session
from bushel.cli.words import clock, plain
from bushel.client.operations import tenancy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _detail(row: dict[str, Any]) -> str:
    return plain(" ".join(f"{name}={_value(value)}" for name, value in row["detail"].items() if value not in (None, {}, [])))


def _value(value: Any) -> str:
    """`cpu:5,memory:1024`, `a,b`: one word, whatever it holds."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{_value(each)}" for name, each in value.items())
    return ",".join(map(_value, value)) if isinstance(value, list) else str(value)


COLUMNS = (
    Column("AT", lambda row: clock(row["at"])),
    Column("WHO", lambda row: row["principal"], least=6),
    Column("DID", lambda row: row["action"], least=10),
    Column("TO", lambda row: row["object"], least=12),
    Column("IN", lambda row: row["scope"], least=8, weight=2),
    Column("DETAIL", _detail, least=12, weight=1),
    Column("REQUEST", lambda row: row["request_id"], wide=True),
    Column("TOKEN", lambda row: row["token_id"] or "–", wide=True),
)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scope", metavar="PATH", help="this scope and those below it")
    parser.add_argument("--by", metavar="NAME", help="who did it")
    parser.add_argument("--action", metavar="ACTION", help="such as role:grant")
    parser.add_argument("--since", metavar="TIME", help="2h, 3d, or 2026-11-24T00:00:00Z")
    parser.add_argument("--before", metavar="TIME")
    parser.add_argument("-n", "--limit", metavar="N", type=at_least_one, default=50)


def _run(options: argparse.Namespace, session: Session) -> None:
    from bushel.cli.times import moment

    rows: list[Any] = []
    page = None
    while len(rows) < options.limit:
        answer = session.call(
            tenancy.audit_page(
                scope=options.scope,
                principal=options.by,
                action=options.action,
                since=moment(options.since) if options.since else None,
                before=moment(options.before) if options.before else None,
                limit=min(1000, options.limit - len(rows)),
                page=page,
            )
        )
        rows += answer["items"]
        page = answer["next_page"]
        if page is None:
            break
    show_list(session, rows, COLUMNS, name=lambda row: str(row["id"]), empty="nothing matches")
    if page is not None and session.for_people:
        session.note(f"there are more: bushel audit --limit {options.limit * 4}")


COMMANDS = {"audit": Command("show who changed what", _run, _arguments, description="Show who changed what, the newest first.")}
