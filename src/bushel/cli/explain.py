"""`bushel explain`: why a job does not run yet, counted, and what would start it."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.output import show_object
from bushel.cli.session import Session
from bushel.cli.words import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_LABELS = {"array_limit": "array", "kept_free": "kept free", "dependency": "after"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="id, or a name: the newest job of that name")


def _run(options: argparse.Namespace, session: Session) -> None:
    from bushel.client.operations import jobs

    explanation: dict[str, Any] = dict(session.call(jobs.explain(options.job, project=session.project)))
    show_object(session, explanation, name=lambda found: found["job"], lines=lambda found: lines(found, session))


def lines(explanation: dict[str, Any], session: Session) -> Iterator[str]:
    """The sentence, then what keeps it waiting by topic, then the ways out."""
    name, job = explanation["name"], explanation["job"]
    sentence = plain(explanation["sentence"])
    for reason in explanation["reasons"]:
        sentence = sentence.removesuffix(f": {plain(reason['sentence'])}")  # it is said below
    own = sentence.startswith(f"{name} ")
    head = f"{session.paint(name, 'bold')} {job}{' ' if own else ': '}{sentence.removeprefix(f'{name} ')}"
    yield head + (f" (queue {explanation['queue']})" if explanation["waited_seconds"] is not None else "")
    if explanation["reasons"]:
        yield ""
    topic = None
    for reason in explanation["reasons"]:
        label = "" if reason["topic"] == topic else _LABELS.get(reason["topic"], reason["topic"])
        topic = reason["topic"]
        yield f"  {label:<11}{plain(reason['sentence'])}"
    if explanation["placement"]:
        yield f"  on         {_nodes(explanation['placement'])}"
    for head, later in (("it would start now", False), ("it would start", True)):
        ways = [way for way in explanation["would_start"] if (way.get("in_seconds") is not None) is later]
        if ways:
            yield ""
            yield f"  {head}"
            yield from (f"    {plain(way['sentence'])}" for way in ways)


def _nodes(placement: dict[str, Any]) -> str:
    """`r14-n03, r14-n07 (cluster east-1)`."""
    nodes, count = placement["nodes"], placement["node_count"]
    return ", ".join(nodes[:6]) + (f" and {count - 6:,} more" if count > 6 else "") + f" (cluster {placement['cluster']})"


COMMANDS = {"explain": Command("say why a job does not run yet", _run, _arguments)}
