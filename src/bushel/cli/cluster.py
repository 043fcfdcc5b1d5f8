"""`bushel cluster`: look at clusters anywhere; add and remove those whose agents run on this machine."""

from __future__ import annotations

import argparse
import os

from bushel.cli.command import Command
from bushel.cli.installation import CLUSTER_VERBS
from bushel.cli.output import Column, show_list, show_object
from bushel.cli.session import Session
from bushel.cli.tenancy_common import every
from bushel.cli.words import ago, plain, plural
from bushel.client.operations import fleet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_STYLES = {"ready": ("green",), "parked": ("yellow",), "silent": ("red",), "waiting": ("dim",)}
_MEANINGS = {
    "ready": "its agent holds the lease",
    "parked": "its agent said farewell; its tasks go on, nothing new starts",
    "silent": "its agent does not renew the lease; its tasks are waited for",
    "waiting": "no agent has come yet",
}


def _name(cluster: dict[str, Any]) -> str:
    return cluster["name"]


COLUMNS = (
    Column("NAME", _name),
    Column("SITE", lambda cluster: cluster["site"]),
    Column("ENGINE", lambda cluster: cluster["engine"], weight=1),
    Column("STATE", lambda cluster: cluster["state"], style=lambda cluster: _STYLES.get(cluster["state"], ())),
    Column("NODES", lambda cluster: f"{cluster['node_count']:,}", right=True),
    Column("RUNNING", lambda cluster: f"{cluster['live_attempts']:,}", right=True),
    Column("ADDED", lambda cluster: ago(cluster["created_at"]), weight=2),
    Column("EPOCH", lambda cluster: cluster["epoch"], right=True, wide=True),
)


def _lines(cluster: dict[str, Any]) -> Iterator[str]:
    yield f"{cluster['name']}   {cluster['state']}: {_MEANINGS.get(cluster['state'], '')}"
    law = f", jurisdiction {cluster['jurisdiction']}" if cluster["jurisdiction"] else ""
    yield f"  site      {cluster['site']}{law}"
    yield f"  engine    {cluster['engine']}"
    yield f"  nodes     {plural(cluster['node_count'], 'node')}, {plural(cluster['live_attempts'], 'attempt')} running"
    yield f"  lease     epoch {cluster['epoch']}" + (f", ends {ago(cluster['lease_expires_at'])}" if cluster["lease_expires_at"] else "")
    told = dict(cluster["agent"])
    ahead = told.pop("clock_ahead_seconds", None)
    if isinstance(ahead, int | float):
        yield f"  clock     {abs(ahead):.3f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
    for key, value in sorted(told.items()):
        yield f"  {plain(key.replace('_', ' ')):<9} {plain(value)}"


def _ls(_: argparse.Namespace, session: Session) -> None:
    clusters = every(session, lambda page: fleet.clusters_page(page=page))
    show_list(session, clusters, COLUMNS, name=_name, empty="no clusters yet\nNext: bushel cluster add NAME --site SITE")


def _get(options: argparse.Namespace, session: Session) -> None:
    show_object(session, session.call(fleet.get_cluster(options.name)), name=_name, lines=_lines)


def _register(options: argparse.Namespace, session: Session) -> None:
    made = session.call(fleet.create_cluster(options.name, site=options.site, engine=options.engine))
    show_object(session, made, name=lambda cluster: cluster["agent_token"], lines=lambda cluster: [cluster["agent_token"]])
    session.note(f"This is the token of {options.name}'s agent, shown once. The agent: python -m bushel.agent --config FILE")


def _register_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--site", metavar="SITE", required=True)
    parser.add_argument("--engine", choices=("local", "kubernetes"), default="local", help="what will run its tasks (default local)")


def _price_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--cpu", metavar="PRICE", help="of one CPU for an hour")
    parser.add_argument("--memory", metavar="PRICE", help="of a GiB for an hour")
    parser.add_argument("--gpu", metavar="[MODEL=]PRICE", action="append", default=[], help="of one accelerator for an hour")
    parser.add_argument("--none", action="store_true", help="forget all of its prices")


def _price(options: argparse.Namespace, session: Session) -> None:
    asked = {name: value for name in ("cpu", "memory") if (value := getattr(options, name)) is not None}
    for text in options.gpu:
        model, separator, price = text.rpartition("=")
        asked[f"gpu/{model}" if separator else "gpu"] = price
    made = session.call(fleet.get_prices(options.name))
    if asked or options.none:
        kept = {} if options.none else made["prices"]
        made = session.call(fleet.set_prices(options.name, {**kept, **asked}))
    show_object(session, made, name=lambda made: made["cluster"], lines=_price_lines)


def _price_lines(made: dict[str, Any]) -> Iterator[str]:
    if not made["prices"]:
        yield f"{made['cluster']} has no prices: what work costs there is not known"
    for resource, price in made["prices"].items():
        yield f"{resource:<12} {price} an hour" + (" and GiB" if resource == "memory" else "")


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--force", action="store_true", help="vouch that its tasks no longer run: they end as lost and may run elsewhere")


def _remove(options: argparse.Namespace, session: Session) -> int | None:
    from bushel.client.context import home_folder

    if not options.force and os.path.exists(os.path.join(home_folder(), "agents", options.name, "agent.json")):
        return CLUSTER_VERBS["remove"].run(options, session)
    session.call(fleet.delete_cluster(options.name, force=options.force))
    session.note(f"Cluster {options.name} is gone; its history stays.")
    return None


VERBS = {
    "cluster": {
        "ls": Command("list clusters", _ls),
        "get": Command("show a cluster", _get, lambda parser: parser.add_argument("name", metavar="NAME") and None),
        "add": CLUSTER_VERBS["add"],
        "register": Command("make a cluster whose agent runs elsewhere; prints the agent's token", _register, _register_arguments),
        "price": Command("show or set what an hour of a cluster's resources costs", _price, _price_arguments),
        "remove": Command("take a cluster out of the fleet", _remove, _remove_arguments, output=False),
    }
}
