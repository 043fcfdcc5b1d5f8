"""`bushel role`: who has which role where."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.output import Column, show_list, show_object
from bushel.cli.session import Session
from bushel.cli.tenancy_common import every
from bushel.cli.words import ago
from bushel.client.operations import tenancy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _name(role: dict[str, Any]) -> str:
    return f"{role['principal']}@{role['scope']}"


COLUMNS = (
    Column("PRINCIPAL", lambda role: role["principal"], least=8),
    Column("ROLE", lambda role: role["role"]),
    Column("SCOPE", lambda role: role["scope"], least=12),
    Column("SINCE", lambda role: ago(role["created_at"]), weight=1),
)


def _ls(options: argparse.Namespace, session: Session) -> None:
    roles = every(session, lambda page: tenancy.roles_page(scope=options.scope, principal=options.principal, page=page))
    show_list(session, roles, COLUMNS, name=_name, empty="no roles match")


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scope", metavar="PATH", help="this scope and those below it")
    parser.add_argument("--principal", metavar="NAME")


def _grant(options: argparse.Namespace, session: Session) -> None:
    role = session.call(tenancy.grant_role(options.principal, scope=options.scope, role=options.role))
    show_object(session, role, name=_name, lines=lambda given: [f"{given['principal']} is {given['role']} of {given['scope']}"])


def _grant_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("principal", metavar="PRINCIPAL")
    parser.add_argument("role", metavar="ROLE", choices=("viewer", "member", "manager", "admin"), help="viewer, member, manager or admin")
    parser.add_argument("scope", metavar="SCOPE")


def _remove(options: argparse.Namespace, session: Session) -> None:
    session.call(tenancy.remove_role(options.principal, scope=options.scope))
    session.note(f"{options.principal} has no role of their own at {options.scope} any more")


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("principal", metavar="PRINCIPAL")
    parser.add_argument("scope", metavar="SCOPE")


VERBS = {
    "role": {
        "ls": Command("list roles", _ls, _ls_arguments),
        "grant": Command("give somebody a role at a scope", _grant, _grant_arguments),
        "remove": Command("take a role away", _remove, _remove_arguments, output=False),
    }
}
