"""`bushel principal`: users and service accounts."""

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


def _name(principal: dict[str, Any]) -> str:
    return principal["name"]


COLUMNS = (
    Column("NAME", _name, least=8),
    Column("KIND", lambda principal: principal["kind"]),
    Column("SCOPE", lambda principal: principal["scope"] or "–", least=8),
    Column("STATE", lambda principal: "disabled" if principal["disabled_at"] else "active"),
    Column("CREATED", lambda principal: ago(principal["created_at"]), weight=1),
)


def _lines(principal: dict[str, Any]) -> list[str]:
    state = f"disabled {ago(principal['disabled_at'])}" if principal["disabled_at"] else "active"
    return [
        f"{principal['name']}   {principal['kind']}, {state}",
        f"  administered by admins of {principal['scope'] or 'the organisation'}",
    ]


def _ls(_: argparse.Namespace, session: Session) -> None:
    principals = every(session, lambda page: tenancy.principals_page(page=page))
    show_list(session, principals, COLUMNS, name=_name, empty="nobody that you may see")


def _get(options: argparse.Namespace, session: Session) -> None:
    show_object(session, session.call(tenancy.get_principal(options.name)), name=_name, lines=_lines)


def _create(options: argparse.Namespace, session: Session) -> None:
    kind = "service" if options.service else "user"
    _show_made(session, dict(session.call(tenancy.create_principal(options.name, scope=options.scope, kind=kind))))


def _enrol(options: argparse.Namespace, session: Session) -> None:
    _show_made(session, dict(session.call(tenancy.enrol_principal(options.name))))


def _show_made(session: Session, made: dict[str, Any]) -> None:
    token = made.get("token")
    show_object(session, made, name=_name, lines=lambda principal: [*_lines(principal), *([f"  token     {token}"] if token else [])])
    if token:
        session.note("This token is shown once. Give it to them by a way that only they can read.")
    elif session.for_people:
        session.next(f"bushel role grant {made['name']} member SCOPE", f"bushel token add NAME --principal {made['name']}")


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--scope", metavar="PATH", required=True, help="the place whose admins administer them")
    parser.add_argument("--service", action="store_true", help="a service account instead of a person")


def _disable(options: argparse.Namespace, session: Session) -> None:
    show_object(session, session.call(tenancy.disable_principal(options.name)), name=_name, lines=_lines)


def _enable(options: argparse.Namespace, session: Session) -> None:
    show_object(session, session.call(tenancy.enable_principal(options.name)), name=_name, lines=_lines)


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")


VERBS = {
    "principal": {
        "ls": Command("list users and service accounts", _ls),
        "get": Command("show one", _get, _one),
        "add": Command("add a user or a service account", _create, _create_arguments),
        "enrol": Command("make a first token again; all earlier ones end", _enrol, _one),
        "disable": Command("stop everything that their tokens do", _disable, _one),
        "enable": Command("let their tokens work again", _enable, _one),
    }
}
