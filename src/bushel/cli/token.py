"""`bushel token`: what programs show to say who they are."""

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


def _name(token: dict[str, Any]) -> str:
    return token["id"]


def _state(token: dict[str, Any]) -> str:
    if token["revoked_at"]:
        return f"revoked {ago(token['revoked_at'])}"
    return f"expires {ago(token['expires_at'])}".replace("expires in", "for") if token["expires_at"] else "for ever"


COLUMNS = (
    Column("ID", _name),
    Column("NAME", lambda token: token["name"], least=8),
    Column("OF", lambda token: token["principal"], least=8),
    Column("MAY", lambda token: " and ".join(token["scopes"])),
    Column("VALID", _state),
    Column("CREATED", lambda token: ago(token["created_at"]), weight=1),
)


def _ls(options: argparse.Namespace, session: Session) -> None:
    tokens = every(session, lambda page: tenancy.tokens_page(principal=options.principal, page=page))
    show_list(session, tokens, COLUMNS, name=_name, empty="no tokens")


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--principal", metavar="NAME", help="somebody whom you administer; left out: yourself")


def _create(options: argparse.Namespace, session: Session) -> None:
    from bushel.cli.times import seconds

    made = session.call(
        tenancy.create_token(
            options.name,
            principal=options.principal,
            scopes=("read",) if options.read_only else ("read", "write"),
            expires_in_seconds=None if options.expires is None else int(seconds(options.expires)),
        )
    )
    show_object(session, made, name=lambda token: token["token"], lines=lambda token: [token["token"]])
    session.note("This token is shown once.")


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what it is for, so that you know it again")
    parser.add_argument("--principal", metavar="NAME", help="a service account that you administer; left out: yourself")
    parser.add_argument("--expires", metavar="TIME", help="30d, 12h; left out: never")
    parser.add_argument("--read-only", action="store_true", help="it may look but not change")


def _revoke(options: argparse.Namespace, session: Session) -> None:
    for token in options.tokens:
        revoked = session.call(tenancy.revoke_token(token))
        session.note(f"{revoked['id']} ({revoked['name']}) no longer works")


def _revoke_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tokens", metavar="ID", nargs="+")


VERBS = {
    "token": {
        "ls": Command("list tokens", _ls, _ls_arguments),
        "add": Command("make a token", _create, _create_arguments),
        "revoke": Command("end tokens, at once", _revoke, _revoke_arguments, output=False),
    }
}
