"""`bushel queue`: shares, guarantees and hard limits."""

from __future__ import annotations

import argparse
from difflib import get_close_matches

from bushel.cli.command import Command
from bushel.cli.mistakes import Wrong
from bushel.cli.output import Column, show_list, show_object
from bushel.cli.queue_tree import TREE
from bushel.cli.session import Session
from bushel.cli.tenancy_common import every
from bushel.cli.words import plural, size
from bushel.client.operations import tenancy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ADD_EXAMPLES = """  bushel queue add vision --scope acme/vision --guarantee cpu=64,H100=8
  bushel queue add guests --scope acme/guests --weight 0"""
SET_EXAMPLES = """  bushel queue set vision --guarantee H100=16 --lend H100=8
  bushel queue set vision --borrow H100=0
  bushel queue set vision --guarantee none --cpu 64"""

_PLAIN = ("cpu", "memory", "disk")
"""What is not the name of a model of accelerators."""

_FLAGS = {"guarantee": "guarantee", "lending": "lend", "borrowing": "borrow"}


def _name(queue: dict[str, Any]) -> str:
    return queue["name"]


def _amounts(amounts: dict[str, Any]) -> str:
    parts = [f"{amounts['cpu']:g} cpu"] if "cpu" in amounts else []
    parts += [f"{size(amounts[name])} {name}" for name in ("memory", "disk") if name in amounts]
    parts += [f"{count:g} {model}" for model, count in amounts.get("gpu", {}).items()]
    return " · ".join(parts) or "–"


COLUMNS = (
    Column("NAME", _name),
    Column("OWNER", lambda queue: queue["scope"], least=10),
    Column("PARENT", lambda queue: queue["parent"] or "–", weight=1),
    Column("WEIGHT", lambda queue: f"{queue['weight']:,}", right=True, weight=2),
    Column("GUARANTEE", lambda queue: _amounts(queue["guarantee"]), least=12, weight=3),
    Column("QUOTA", lambda queue: _amounts(queue["resource_quota"]), least=12, weight=4),
    Column("LENDS AT MOST", lambda queue: _amounts(queue["lending"]), least=12, weight=5, wide=True),
    Column("BORROWS AT MOST", lambda queue: _amounts(queue["borrowing"]), least=12, weight=5, wide=True),
    Column("JOBS AT MOST", lambda queue: "–" if queue["job_quota"] is None else f"{queue['job_quota']:,}", right=True, weight=3),
)


def _lines(queue: dict[str, Any]) -> list[str]:
    limit = queue["job_quota"]
    nothing = " (it gets what nobody else wants)" if not queue["weight"] else ""
    lends = f"at most {_amounts(queue['lending'])} of its guarantee" if queue["lending"] else "all of its guarantee that it does not use"
    borrows = f"at most {_amounts(queue['borrowing'])} beyond its guarantee" if queue["borrowing"] else "whatever is free"
    return [
        f"{queue['name']}   owned by {queue['scope']}" + (f", below {queue['parent']}" if queue["parent"] else ""),
        f"  weight      {queue['weight']:,}{nothing}",
        f"  guarantee   {_amounts(queue['guarantee']) if queue['guarantee'] else 'nothing'}",
        f"  lends       {lends}",
        f"  borrows     {borrows}",
        f"  quota       {_amounts(queue['resource_quota']) if queue['resource_quota'] else 'no hard limit of resources'}",
        f"  jobs        {'no limit' if limit is None else 'at most ' + plural(limit, 'job') + ' that have not ended'}",
    ]


def _ls(_: argparse.Namespace, session: Session) -> None:
    queues = every(session, lambda page: tenancy.queues_page(page=page))
    show_list(session, queues, COLUMNS, name=_name, empty="no queues")


def _get(options: argparse.Namespace, session: Session) -> None:
    show_object(session, session.call(tenancy.get_queue(options.queue)), name=_name, lines=_lines)


def _limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weight", metavar="N", type=int, help="share among its siblings; 1000 is the default; 0: what nobody else wants")
    parser.add_argument("--guarantee", metavar="AMOUNTS", action="append", default=[], help="what it can have back whenever it wants it")
    parser.add_argument("--lend", metavar="AMOUNTS", action="append", default=[], help="most of its guarantee that others may use")
    parser.add_argument("--borrow", metavar="AMOUNTS", action="append", default=[], help="most that it may use beyond its guarantee")
    parser.add_argument("--cpu", metavar="N", help="most CPUs in use")
    parser.add_argument("--memory", metavar="SIZE", help="most memory in use, such as 64GiB")
    parser.add_argument("--disk", metavar="SIZE", help="most scratch space in use")
    parser.add_argument("--gpu", metavar="MODEL:N", action="append", default=[], help="most accelerators of a model in use")
    parser.add_argument("--jobs", metavar="N", help="most jobs that have not ended; none takes the limit away")


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", metavar="NAME")
    parser.add_argument("--scope", metavar="PATH", required=True, help="the team that owns it")
    parser.add_argument("--parent", metavar="QUEUE")
    _limits(parser)


def _change_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", metavar="NAME")
    _limits(parser)
    parser.add_argument("--no-quota", action="store_true", help="take all limits of resources away")


def _quota_of(options: argparse.Namespace) -> dict[str, Any]:
    quota: dict[str, Any] = {
        name: _number(getattr(options, name)) for name in ("cpu", "memory", "disk") if getattr(options, name) is not None
    }
    for text in options.gpu:
        model, separator, count = text.rpartition(":")
        if not separator:
            raise Wrong(f"--gpu {text}: write MODEL:N, such as H100:64")
        quota.setdefault("gpu", {})[model] = _number(count)
    return quota


def _changed_amounts(flag: str, texts: list[str], before: dict[str, Any]) -> dict[str, Any]:
    """`before` with what these say: `cpu=64,memory=1TiB,H100=8`; `H100=none` takes one away, `none` all."""
    plain: dict[str, Any] = {name: value for name, value in before.items() if name != "gpu"}
    gpu: dict[str, Any] = dict(before.get("gpu", {}))
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, separator, amount = part.partition("=")
        place = plain if name in _PLAIN else gpu
        if part == "none":
            plain, gpu = {}, {}
        elif not (separator and name and amount):
            raise Wrong(f"{flag} {part}: write RESOURCE=AMOUNT, or none", suggestion=f"{flag} cpu=64,memory=1TiB,H100=8")
        elif amount == "none":
            place.pop(name, None)
        elif name not in _PLAIN and (meant := get_close_matches(name.lower(), (*_PLAIN, "gpu"), 1, 0.6)):
            # Any other name is a model of accelerators, so a slip would promise one that nobody has.
            fix = "H100=8, the model by its name" if meant[0] == "gpu" else f"{meant[0]}={amount}"
            raise Wrong(f"{flag} {part}: {name} is no model of accelerators", suggestion=f"{flag} {fix}")
        else:
            place[name] = _number(amount)
    return plain | ({"gpu": gpu} if gpu else {})


def _shares(options: argparse.Namespace, before: dict[str, Any]) -> dict[str, Any]:
    """The fields that the flags change."""
    said = {name: getattr(options, flag) for name, flag in _FLAGS.items()}
    return {name: _changed_amounts(f"--{_FLAGS[name]}", texts, before.get(name, {})) for name, texts in said.items() if texts}


def _number(text: str) -> int | float | str:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def _jobs(options: argparse.Namespace) -> int | None:
    if options.jobs is None or options.jobs == "none":
        return None
    if not (options.jobs.isascii() and options.jobs.isdigit()):
        raise Wrong(f"--jobs {options.jobs}: write a number, or none")
    return int(options.jobs)


def _create(options: argparse.Namespace, session: Session) -> None:
    queue = session.call(
        tenancy.create_queue(
            options.queue,
            scope=options.scope,
            parent=options.parent,
            weight=options.weight,
            resource_quota=_quota_of(options) or None,
            **_shares(options, {}),
            job_quota=_jobs(options),
        )
    )
    show_object(session, queue, name=_name, lines=_lines)


def _change(options: argparse.Namespace, session: Session) -> None:
    change: dict[str, object] = {}
    quota = _quota_of(options)
    if options.weight is not None:
        change["weight"] = options.weight
    if options.no_quota:
        change["resource_quota"] = quota
    if (quota and not options.no_quota) or options.guarantee or options.lend or options.borrow:
        before: dict[str, Any] = dict(session.call(tenancy.get_queue(options.queue)))
        if quota and not options.no_quota:
            change["resource_quota"] = {**before["resource_quota"], **quota}
        change |= {**_shares(options, before), "version": before["version"]}
    if options.jobs is not None:
        change["job_quota"] = _jobs(options)
    if not change:
        raise Wrong("nothing to change", suggestion=f"bushel queue set {options.queue} --guarantee cpu=64")
    show_object(session, session.call(tenancy.change_queue(options.queue, change)), name=_name, lines=_lines)


def _remove(options: argparse.Namespace, session: Session) -> None:
    session.call(tenancy.delete_queue(options.queue))
    session.note(f"{options.queue} removed")


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", metavar="NAME")


VERBS = {
    "queue": {
        "ls": Command("list queues", _ls),
        "tree": TREE,
        "get": Command("show one queue", _get, _one),
        "add": Command("make a queue", _create, _create_arguments, examples=ADD_EXAMPLES),
        "set": Command("change a queue's weight, guarantee or limits", _change, _change_arguments, examples=SET_EXAMPLES),
        "remove": Command("remove a queue that nothing uses", _remove, _one, output=False),
    }
}
