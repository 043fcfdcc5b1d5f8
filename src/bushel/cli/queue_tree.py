"""`bushel queue tree`: what each queue is entitled to, uses, lends and borrows, and from whom."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.output import Column, show_list, table
from bushel.cli.session import Session
from bushel.cli.terminal import to_json, to_yaml
from bushel.cli.words import plain, size
from bushel.client.operations import tenancy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Row = tuple[dict[str, Any], dict[str, Any] | None]

EXAMPLES = """  bushel queue tree
  bushel queue tree -o wide
  bushel queue tree -o json"""
_BYTES = ("memory", "disk")


def amount(resource: str, quantity: float) -> str:
    """`64`, `31 GiB`; a dash for nothing."""
    if not quantity:
        return "–"
    return size(quantity) if resource in _BYTES else f"{quantity:,g}"


def _resource(row: Row) -> str:
    return row[1]["resource"].removeprefix("gpu/") if row[1] else "–"


def _of(field: str) -> Callable[[Row], str]:
    return lambda row: amount(row[1]["resource"], row[1][field]) if row[1] else "–"


def _bound(field: str) -> Callable[[Row], str]:
    """A bound of 0 is one; none is a dash."""

    def shown(row: Row) -> str:
        bound = row[1].get(field) if row[1] else None
        return "–" if bound is None or row[1] is None else (amount(row[1]["resource"], bound) if bound else "0")

    return shown


def loan(found: dict[str, Any]) -> str:
    """`8 H100 from research`."""
    resource = found["resource"].removeprefix("gpu/")
    lender = {
        "queue": found["lender"],
        "others": "queues that you may not see",
        "parent": "what the queue above has",
        "unpromised": "what nobody is promised",
    }[found["source"]]
    return f"{amount(found['resource'], found['amount'])} {resource} from {plain(lender)}"


def _name(row: Row) -> str:
    queue, share = row
    first = share is None or share is queue["shown"][0]
    return "  " * queue["depth"] + (queue["name"] if first else "")


def _waiting(row: Row) -> str:
    queue, share = row
    return f"{queue['waiting']:,}" if queue["waiting"] and (share is None or share is queue["shown"][0]) else ""


def _weight(row: Row) -> str:
    queue, share = row
    return f"{queue['weight']:,}" if share is None or share is queue["shown"][0] else ""


COLUMNS = (
    Column("QUEUE", _name, least=12),
    Column("RESOURCE", _resource),
    Column("ENTITLED", _of("entitled"), right=True),
    Column("GUARANTEED", _of("guaranteed"), right=True, weight=3),
    Column("USED", _of("used"), right=True),
    Column("LENT", _of("lent"), right=True, weight=4),
    Column("BORROWED", _of("borrowed"), right=True, weight=5),
    Column("LIMIT", _bound("limit"), right=True, weight=1, wide=True),
    Column("LENDS ≤", _bound("lending"), right=True, weight=1, wide=True),
    Column("BORROWS ≤", _bound("borrowing"), right=True, weight=1, wide=True),
    Column("WAITING", _waiting, right=True, weight=2),
    Column("WEIGHT", _weight, right=True, weight=1, wide=True),
)


def rows(queues: list[dict[str, Any]], *, everything: bool) -> list[Row]:
    """A line for each resource of a queue: those it has anything to do with, or all."""
    found: list[Row] = []
    for queue in queues:
        shares = [
            share
            for share in queue["shares"]
            if everything or any(share[field] for field in ("entitled", "guaranteed", "used", "lent", "borrowed"))
        ]
        queue = {**queue, "shown": shares}
        found += [(queue, share) for share in shares] or [(queue, None)]
    return found


def lines(tree: dict[str, Any], session: Session) -> Iterator[str]:
    """The table, then the loans."""
    wide = session.output == "wide"
    columns = [column for column in COLUMNS if wide or not column.wide]
    yield from table(session, rows(tree["items"], everything=wide), columns)
    borrowers = [queue for queue in tree["items"] if queue["borrows"]]
    for queue in borrowers:
        yield ""
        yield f"{session.paint(plain(queue['name']), 'bold')} borrows"
        yield from (f"  {loan(found)}" for found in queue["borrows"])


def _tree(_: argparse.Namespace, session: Session) -> None:
    tree: dict[str, Any] = dict(session.call(tenancy.queue_tree()))
    if session.output == "json":
        session.say(to_json(tree, indent=2))
    elif session.output == "yaml":
        session.say(to_yaml(tree))
    elif session.for_people and tree["items"]:
        for line in lines(tree, session):
            session.say(line)
    else:
        show_list(session, tree["items"], (), name=lambda queue: queue["name"], empty="no queues that you may see")


TREE = Command(
    "show shares, and who borrows from whom",
    _tree,
    description="Show the tree of queues: what each is entitled to, guaranteed, uses, lends and borrows, and who borrows from whom.",
    examples=EXAMPLES,
)
