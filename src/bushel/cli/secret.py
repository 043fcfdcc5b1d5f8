"""`bushel secret`: values that jobs are given. They are read from a prompt, a file or standard input, never from the command line."""

from __future__ import annotations

import argparse
import sys

from bushel.cli.command import Command
from bushel.cli.mistakes import Wrong
from bushel.cli.output import Column, show_list, show_object
from bushel.cli.session import Session
from bushel.cli.tenancy_common import every, scope_of
from bushel.cli.words import ago
from bushel.client.operations import tenancy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_SECRET_BYTES = 64 * 1024


def _name(secret: dict[str, Any]) -> str:
    return secret["name"]


COLUMNS = (
    Column("NAME", _name),
    Column("SCOPE", lambda secret: secret["scope"], least=12),
    Column("CHANGED", lambda secret: ago(secret["changed_at"])),
    Column("BY", lambda secret: secret["changed_by"], weight=1),
)


def _scope(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scope", metavar="PATH", help="jobs at and below it get the secret; left out: the project")


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="also the name of the environment variable")
    _scope(parser)


def _set_arguments(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("--file", metavar="FILE", help="read the value from this file instead of a prompt or standard input")


def _ls(options: argparse.Namespace, session: Session) -> None:
    scope = scope_of(session, options.scope)
    secrets = every(session, lambda page: tenancy.secrets_page(scope=scope, page=page))
    show_list(session, secrets, COLUMNS, name=_name, empty=f"no secrets in {scope}")


def _set(options: argparse.Namespace, session: Session) -> None:
    scope = scope_of(session, options.scope)
    secret = session.call(tenancy.put_secret(options.name, _value(options), scope=scope))
    show_object(session, secret, name=_name, lines=lambda stored: [f"{stored['name']} is set in {stored['scope']}"])
    if session.for_people:
        session.next(f"bushel submit --secret {options.name} -- COMMAND")


def _value(options: argparse.Namespace) -> str:
    if options.file:
        with open(options.file, "rb") as file:
            data = file.read(MOST_SECRET_BYTES + 1)
    elif sys.stdin.isatty():
        import getpass

        data = getpass.getpass(f"Value of {options.name} (not shown): ").encode()
    else:
        data = sys.stdin.buffer.read(MOST_SECRET_BYTES + 1).removesuffix(b"\n")
    if not data:
        raise Wrong("the value is empty")
    if len(data) > MOST_SECRET_BYTES:
        raise Wrong(f"the value is longer than {MOST_SECRET_BYTES // 1024} KiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Wrong("the value is not text in UTF-8", suggestion="encode it, for example with base64") from None


def _remove(options: argparse.Namespace, session: Session) -> None:
    scope = scope_of(session, options.scope)
    session.call(tenancy.delete_secret(options.name, scope=scope))
    session.note(f"{options.name} removed from {scope}")


VERBS = {
    "secret": {
        "ls": Command("list the names of secrets", _ls, _scope),
        "set": Command("store a value, from a prompt, a file or standard input", _set, _set_arguments),
        "remove": Command("remove a secret", _remove, _one, output=False),
    }
}
