"""`bushel storage`: where data sets are kept."""

from __future__ import annotations

import argparse
import os

from bushel.cli.command import Command
from bushel.cli.mistakes import Wrong
from bushel.cli.output import Column, show_list, show_object
from bushel.cli.session import Session
from bushel.cli.tenancy_common import every, scope_of
from bushel.client.operations import datasets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _name(place: dict[str, Any]) -> str:
    return place["name"]


COLUMNS = (
    Column("NAME", _name),
    Column("URL", lambda place: place["url"], least=20),
    Column("JURISDICTION", lambda place: place["jurisdiction"] or "–"),
    Column("SITES", lambda place: ", ".join(place["sites"]) or "any", least=8),
    Column("SCOPE", lambda place: place["scope"], least=10, weight=1),
    Column("SECRETS", lambda place: ", ".join(filter(None, place["secrets"].values())), least=8, weight=2),
)


def _scope(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scope", metavar="PATH", help="projects at and below it can use the place; left out: the project")


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    _scope(parser)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("place_url", metavar="PLACE", help="/a/folder or s3://bucket/prefix")
    parser.add_argument("--jurisdiction", default="", metavar="NAME", help="what lies there is under this law")
    parser.add_argument("--site", action="append", default=[], metavar="SITE", help="only tasks at this site reach it; may be repeated")
    parser.add_argument("--endpoint", metavar="URL", help="of an S3 store that is not Amazon's")
    parser.add_argument("--region", metavar="NAME")
    parser.add_argument("--secret", action="append", default=[], metavar="SETTING=SECRET", help="access_key_id=S3_KEY: names, never values")
    parser.add_argument("--read-back", action="store_true", help="read every object again after it was written")


def _ls(options: argparse.Namespace, session: Session) -> None:
    scope = scope_of(session, options.scope)
    places = every(session, lambda page: datasets.places_page(scope=scope, page=page))
    show_list(session, places, COLUMNS, name=_name, empty=f"no storage places for {scope}\nNext: bushel storage add default /a/folder")


def _add(options: argparse.Namespace, session: Session) -> None:
    secrets = {}
    for pair in options.secret:
        setting, _, secret = pair.partition("=")
        if not secret:
            raise Wrong(f"--secret {pair}: write access_key_id=NAME", suggestion="bushel secret ls")
        secrets[setting] = secret
    given = {"endpoint": options.endpoint, "region": options.region, "read_back": options.read_back or None}
    place = session.call(
        datasets.put_place(
            options.name,
            options.place_url,
            scope=scope_of(session, options.scope),
            jurisdiction=options.jurisdiction,
            sites=options.site,
            options={name: value for name, value in given.items() if value is not None},
            secrets=secrets,
        )
    )
    show_object(session, place, name=_name, lines=lambda made: [f"{made['name']} is {made['url']}, for {made['scope']}"])
    if session.for_people and options.place_url.startswith("/") and not os.path.isdir(options.place_url):
        session.note(f"There is no folder {options.place_url} on this machine. It must be where tasks run and where the control plane does")
    session.next("bushel dataset ls")


def _remove(options: argparse.Namespace, session: Session) -> None:
    scope = scope_of(session, options.scope)
    session.call(datasets.delete_place(options.name, scope=scope))
    session.note(f"{options.name} removed from {scope}; what lies there stays")


VERBS = {
    "storage": {
        "ls": Command("list storage places", _ls, _scope),
        "add": Command(
            "add a storage place, or change its sites and secrets",
            _add,
            _add_arguments,
            examples="  bushel storage add default /data/bushel\n"
            "  bushel storage add eu s3://recordings/eu --jurisdiction eu --site eu-west \\\n"
            "      --secret access_key_id=S3_ID --secret secret_access_key=S3_KEY",
        ),
        "remove": Command("forget a storage place that no data set uses", _remove, _one, output=False),
    }
}
