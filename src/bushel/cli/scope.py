"""`bushel scope`: the tree of organisation, teams and projects."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.mistakes import Wrong
from bushel.cli.output import Column, show_list, show_object
from bushel.cli.session import Session
from bushel.cli.tenancy_common import every
from bushel.cli.words import ago
from bushel.client.operations import tenancy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _name(scope: dict[str, Any]) -> str:
    return scope["path"]


COLUMNS = (
    Column("PATH", _name, least=16),
    Column("KIND", lambda scope: scope["kind"]),
    Column("QUEUE", lambda scope: scope["queue"] or "–", least=6, weight=2),
    Column("CREATED", lambda scope: ago(scope["created_at"]), weight=1),
)


def _lines(scope: dict[str, Any]) -> list[str]:
    return [f"{scope['path']}   {scope['kind']}", f"  queue     {scope['queue'] or '–'}", f"  created   {ago(scope['created_at'])}"]


def _ls(options: argparse.Namespace, session: Session) -> None:
    scopes = every(session, lambda page: tenancy.scopes_page(under=options.under, page=page))
    show_list(session, scopes, COLUMNS, name=_name, empty="no scopes that you may see")


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("under", metavar="PATH", nargs="?", help="this scope and those below it")


def _get(options: argparse.Namespace, session: Session) -> None:
    show_object(session, session.call(tenancy.get_scope(options.path)), name=_name, lines=_lines)


def _create(options: argparse.Namespace, session: Session) -> None:
    if "/" not in options.path:
        raise Wrong(f"{options.path}: write ORGANISATION/TEAM, or ORGANISATION/TEAM/PROJECT", suggestion="bushel scope ls")
    scope = session.call(tenancy.create_scope(options.path, queue=options.queue))
    show_object(session, scope, name=_name, lines=_lines)


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a team (acme/research) or a project (acme/research/vision)")
    parser.add_argument("--queue", metavar="QUEUE", help="a team's own queue, or a project's default one")


def _set(options: argparse.Namespace, session: Session) -> None:
    show_object(session, session.call(tenancy.change_scope(options.path, queue=options.queue)), name=_name, lines=_lines)


def _set_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("--queue", metavar="QUEUE", required=True)


def _remove(options: argparse.Namespace, session: Session) -> None:
    session.call(tenancy.delete_scope(options.path))
    session.note(f"{options.path} removed")


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH")


VERBS = {
    "scope": {
        "ls": Command("list the scopes that you may see", _ls, _ls_arguments),
        "get": Command("show one scope", _get, _one),
        "add": Command("make a team or a project", _create, _create_arguments),
        "set": Command("give a scope another queue", _set, _set_arguments),
        "remove": Command("remove an empty team or project", _remove, _one, output=False),
    }
}
