"""`bushel context`: which Bushel this command talks to."""

from __future__ import annotations

import argparse
import sys

from bushel.cli.command import Command
from bushel.cli.mistakes import Wrong
from bushel.cli.output import Column, show_list
from bushel.cli.session import Session
from bushel.client import context as contexts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    Column("", lambda row: "*" if row["current"] else ""),
    Column("NAME", lambda row: row["name"]),
    Column("URL", lambda row: row["url"], least=20),
    Column("PROJECT", lambda row: row.get("project") or "–", least=8, weight=1),
)


def _ls(_: argparse.Namespace, session: Session) -> None:
    stored = contexts.read_contexts()
    rows: list[dict[str, Any]] = [
        {"name": name, "url": entry["url"], "project": entry.get("project"), "current": name == stored.get("current")}
        for name, entry in stored["contexts"].items()
    ]
    here = contexts.installation(contexts.home_folder())
    if here is not None:
        rows.insert(0, {"name": "(this machine)", "url": here.url, "project": here.project, "current": not stored.get("current")})
    show_list(
        session, rows, COLUMNS, name=lambda row: row["name"], empty="no contexts\nNext: bushel up, or bushel context add NAME --url URL"
    )
    if session.for_people and rows:
        try:
            session.note(f"in use: {session.context.url} ({session.context.source})")
        except contexts.NoContext as error:
            session.note(f"in use: none; {error}")


def _add(options: argparse.Namespace, session: Session) -> None:
    from bushel.client.http1 import Address

    entry: dict[str, Any] = {"url": Address(options.url).url}
    if options.token_file:
        with open(options.token_file, encoding="utf-8") as file:
            entry["token"] = file.read().strip()
    elif sys.stdin.isatty():
        import getpass

        entry["token"] = getpass.getpass("Token (not shown): ").strip()
    else:
        entry["token"] = sys.stdin.readline().strip()
    if not entry["token"]:
        raise Wrong("no token was given")
    entry |= {name: value for name, value in (("ca", options.ca), ("project", options.project)) if value}
    stored = contexts.read_contexts()
    stored["contexts"][options.name] = entry
    stored["current"] = stored.get("current") or options.name
    contexts.write_contexts(stored)
    session.note(f"{options.name} is {entry['url']}" + (", and in use" if stored["current"] == options.name else ""))
    if stored["current"] != options.name:
        session.note(f"Next: bushel context use {options.name}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--url", metavar="URL", required=True)
    parser.add_argument("--token-file", metavar="FILE", help="file that holds the token; left out: a prompt or standard input")
    parser.add_argument("--ca", metavar="FILE", help="certificates to trust, in PEM")
    parser.add_argument("--project", metavar="PATH", help="project to use where none is named")


def _use(options: argparse.Namespace, session: Session) -> None:
    stored = contexts.read_contexts()
    if options.name is None:
        stored["current"] = None
    elif options.name not in stored["contexts"]:
        raise Wrong(f"there is no context {options.name!r}", suggestion="bushel context ls")
    else:
        stored["current"] = options.name
    if options.project is not None:
        _set_project(stored, options.name, options.project)
    contexts.write_contexts(stored)
    in_project = f", project {options.project}" if options.project else ""
    session.note(f"in use: {options.name or 'the installation on this machine'}{in_project}")


def _set_project(stored: dict[str, Any], name: str | None, project: str) -> None:
    """In the context, or in the file of the installation of this machine. An empty project is none."""
    if name is not None:
        stored["contexts"][name]["project"] = project or None
    elif not contexts.set_installation_project(contexts.home_folder(), project or None):
        raise Wrong(f"there is no installation in {contexts.home_folder()}", suggestion="bushel up")


def _use_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="left out: the installation on this machine")
    parser.add_argument("--project", metavar="PATH", help="project to use from now on where none is named; '' for none")


def _remove(options: argparse.Namespace, session: Session) -> None:
    stored = contexts.read_contexts()
    if options.name not in stored["contexts"]:
        raise Wrong(f"there is no context {options.name!r}", suggestion="bushel context ls")
    del stored["contexts"][options.name]
    if stored.get("current") == options.name:
        stored["current"] = None
    contexts.write_contexts(stored)
    session.note(f"{options.name} removed")


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")


VERBS = {
    "context": {
        "ls": Command("list contexts", _ls, connects=False),
        "add": Command("name a Bushel, with a token for it", _add, _add_arguments, output=False, connects=False),
        "use": Command("talk to this one from now on", _use, _use_arguments, output=False, connects=False),
        "remove": Command("forget a context and its token", _remove, _remove_arguments, output=False, connects=False),
    }
}
