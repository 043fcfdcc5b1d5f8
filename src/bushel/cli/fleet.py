"""`bushel node` and `bushel site`: where jobs run."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.mistakes import Wrong
from bushel.cli.output import Column, show_list, show_object
from bushel.cli.session import Session
from bushel.cli.tenancy_common import every
from bushel.cli.words import ago, amounts, clock, plain, plural, short_amounts, size
from bushel.client.operations import fleet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


# Nodes -------------------------------------------------------------------------------------------------------------


def node_name(node: dict[str, Any]) -> str:
    return f"{node['cluster']}/{node['name']}"


def _state(node: dict[str, Any]) -> str:
    return node["state"] + (", cordoned" if node["cordoned"] else "")


def _state_style(node: dict[str, Any]) -> tuple[str, ...]:
    return ("yellow",) if node["cordoned"] else ("green",) if node["state"] == "ready" else ("red",)


def _free(node: dict[str, Any]) -> dict[str, int]:
    return {name: amount - node["held"].get(name, 0) for name, amount in node["capacity"].items()}


NODE_COLUMNS = (
    Column("NODE", node_name, least=12),
    Column("SITE", lambda node: node["site"], weight=1),
    Column("STATE", _state, style=_state_style),
    Column("HAS", lambda node: short_amounts(node["capacity"]), least=14),
    Column("FREE", lambda node: short_amounts(_free(node)), least=14, weight=3),
    Column("DISK", lambda node: size(node["capacity"]["disk"]) if node["capacity"].get("disk") else "–", right=True, wide=True),
    Column("CHANGED", lambda node: ago(node["reported_at"]), weight=2),
    Column("LABELS", lambda node: " ".join(f"{key}={value}" for key, value in sorted(node["labels"].items())), wide=True, least=10),
)


_FIRST_PARTS = {"kind": 0, "because": 1}  # the database does not keep the order of what the agent says


def _node_lines(node: dict[str, Any]) -> Iterator[str]:
    yield f"{node_name(node)}   {_state(node)}   site {node['site']}"
    yield f"  has       {amounts(node['capacity'])}"
    yield f"  held      {amounts(node['held']) or 'nothing'}"
    if node["topology"]:
        yield f"  lies in   {' · '.join(f'{level} {place}' for level, place in node['topology'])}"
    if node["labels"]:
        yield f"  labels    {' '.join(f'{key}={value}' for key, value in sorted(node['labels'].items()))}"
    for window in node["maintenance"] or ():
        yield f"  worked on {clock(window['starts_at'])} to {clock(window['ends_at'])}: {plain(window['reason'])} (window {window['id']})"
    for key, value in sorted(node["detail"].items()):
        yield from _wrapped(_detail_lines(key, value))
    yield f"  changed   {ago(node['reported_at'])}"


def _wrapped(lines: Iterable[str]) -> Iterator[str]:
    import textwrap

    for line in lines:
        yield from textwrap.wrap(line, 100, subsequent_indent=" " * 14, break_long_words=False)


def _detail_lines(key: str, value: Any) -> Iterator[str]:
    """What the agent says of the machine, how limits are enforced above all."""
    name = plain(key.replace("_", " "))
    if isinstance(value, dict):
        named = sorted(value.items(), key=lambda part: _FIRST_PARTS.get(part[0], len(_FIRST_PARTS)))
        parts = [f"{plain(str(inner)).replace('_', ' ')}: {plain(said)}" for inner, said in named]
        yield f"  {name:<9} {parts[0] if parts else '–'}"
        yield from (f"  {'':<9} {part}" for part in parts[1:])
    elif isinstance(value, list):
        yield f"  {name:<9} {', '.join(plain(part) for part in value) or '–'}"
    else:
        yield f"  {name:<9} {plain(value)}"


def _split(text: str, session: Session) -> tuple[str, str]:
    """`CLUSTER/NODE`, or the name alone where only one node has it."""
    cluster, separator, node = text.partition("/")
    if separator:
        return cluster, node
    found = [one for one in every(session, lambda page: fleet.nodes_page(page=page)) if one["name"] == text]
    if len(found) == 1:
        return found[0]["cluster"], text
    if not found:
        from bushel.client.errors import NotFound

        raise NotFound(f"there is no node {text}, or you may not see it", suggestion="bushel node ls")
    raise Wrong(f"{plural(len(found), 'node')} are called {text}", suggestion=f"name one: {', '.join(node_name(one) for one in found[:5])}")


def _nodes(options: argparse.Namespace, session: Session) -> None:
    nodes = every(session, lambda page: fleet.nodes_page(cluster=options.cluster, page=page))
    show_list(session, nodes, NODE_COLUMNS, name=node_name, empty="no nodes yet: an agent brings its own with it")


def _nodes_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cluster", metavar="CLUSTER")


def _node(options: argparse.Namespace, session: Session) -> None:
    cluster, name = _split(options.node, session)
    show_object(session, session.call(fleet.get_node(cluster, name)), name=node_name, lines=_node_lines)


def _cordon(options: argparse.Namespace, session: Session) -> None:
    for text in options.nodes:
        node = session.call(fleet.cordon(*_split(text, session)))
        session.note(f"{node['cluster']}/{node['name']} is cordoned: nothing more starts there, what runs goes on")


def _uncordon(options: argparse.Namespace, session: Session) -> None:
    for text in options.nodes:
        node = session.call(fleet.uncordon(*_split(text, session)))
        session.note(f"{node['cluster']}/{node['name']} takes work again")


def _maintain(options: argparse.Namespace, session: Session) -> None:
    from bushel.cli.times import moment

    starts_at, ends_at = moment(options.starts), moment(options.ends)
    for text in options.nodes:
        cluster, name = _split(text, session)
        session.call(fleet.plan_maintenance(cluster, name, starts_at=starts_at, ends_at=ends_at, reason=options.reason))
        session.note(f"{cluster}/{name}: nothing starts there from {clock(starts_at)} to {clock(ends_at)}")


def _end_maintenance(options: argparse.Namespace, session: Session) -> None:
    node = session.call(fleet.end_maintenance(*_split(options.node, session), options.window))
    session.note(f"{node['cluster']}/{node['name']}: window {options.window} is taken away")


def _maintain_arguments(parser: argparse.ArgumentParser) -> None:
    _many_nodes(parser)
    parser.add_argument("--from", dest="starts", metavar="TIME", required=True, help="2030-01-31, or with the hour: 2030-01-31T22:00:00Z")
    parser.add_argument("--until", dest="ends", metavar="TIME", required=True)
    parser.add_argument("--reason", metavar="TEXT", required=True, help="what is done there")


def _end_maintenance_arguments(parser: argparse.ArgumentParser) -> None:
    _one_node(parser)
    parser.add_argument("window", metavar="WINDOW", type=int, help="its number, as `bushel node get` shows it")


def _one_node(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="[CLUSTER/]NODE")


def _many_nodes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nodes", metavar="[CLUSTER/]NODE", nargs="+")


# Sites -------------------------------------------------------------------------------------------------------------


SITE_COLUMNS = (
    Column("NAME", lambda site: site["name"]),
    Column("JURISDICTION", lambda site: site["jurisdiction"] or "–"),
    Column("CLUSTERS", lambda site: f"{site['cluster_count']:,}", right=True),
    Column("ADDED", lambda site: ago(site["created_at"]), weight=1),
)


def _sites(_: argparse.Namespace, session: Session) -> None:
    sites = every(session, lambda page: fleet.sites_page(page=page))
    show_list(session, sites, SITE_COLUMNS, name=lambda site: site["name"], empty="no sites yet\nNext: bushel cluster add NAME --site SITE")


def _add_site(options: argparse.Namespace, session: Session) -> None:
    site = session.call(fleet.create_site(options.name, jurisdiction=options.jurisdiction))
    show_object(session, site, name=lambda made: made["name"], lines=lambda made: [f"{made['name']} {made['jurisdiction']}".rstrip()])


def _site_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--jurisdiction", metavar="CODE", default="", help="whose law holds there: cn, us, eu")


VERBS = {
    "node": {
        "ls": Command("list nodes", _nodes, _nodes_arguments),
        "get": Command("show a node: what it has, what is held, how limits are enforced", _node, _one_node),
        "cordon": Command("let no new work onto nodes", _cordon, _many_nodes, output=False),
        "uncordon": Command("let work onto nodes again", _uncordon, _many_nodes, output=False),
        "maintain": Command("say when nodes are worked on: nothing starts there then", _maintain, _maintain_arguments, output=False),
        "end-maintenance": Command(
            "take away a time at which a node is worked on", _end_maintenance, _end_maintenance_arguments, output=False
        ),
    },
    "site": {
        "ls": Command("list sites", _sites),
        "add": Command("add a site", _add_site, _site_arguments),
    },
}
