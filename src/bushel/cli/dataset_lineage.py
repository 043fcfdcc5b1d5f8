"""`bushel dataset lineage`: both ways, and from one part back to the attempt, node and code that made it."""

from __future__ import annotations

import argparse

from bushel.cli.dataset_words import counted, project_of, reference
from bushel.cli.mistakes import at_least_one
from bushel.cli.output import show_object
from bushel.cli.session import Session
from bushel.cli.terminal import to_json
from bushel.client.operations import datasets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SOURCES_SHOWN = 20


def add_lineage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="left out: the current version; deleted ones can be asked for")
    parser.add_argument("--part", metavar="NAME", help="of this part: its sources, attempt, node and code")
    parser.add_argument("--depth", type=at_least_one, default=10, metavar="N", help="so many steps each way; default 10")
    parser.add_argument("--openlineage", action="store_true", help="print OpenLineage events, one JSON object a line")


def show_lineage(options: argparse.Namespace, session: Session) -> None:
    name, version = reference(options.dataset)
    project = project_of(session)
    if options.openlineage:
        for event in session.pages(lambda page: datasets.lineage_events_page(dataset=name, version=version, project=project, page=page)):
            session.say(to_json(event))
        return
    found = session.call(datasets.lineage(name, version, part=options.part, depth=options.depth, project=project))
    show_object(session, found, name=lambda item: f"{item['version']['dataset']}@{item['version']['number']}", lines=_lines)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    version = found["version"]
    me = (version["project"], version["dataset"], version["number"])
    yield f"{version['dataset']}@{version['number']}  {counted(version['counts'])}"
    if found["part"] is not None:
        yield from _part(found["part"])
    yield "  made of" if found["upstream"] else "  made of     nothing that is kept here"
    yield from _tree(found["upstream"], me, "made", "of", {me})
    yield "  used for" if found["downstream"] else "  used for    nothing yet"
    yield from _tree(found["downstream"], me, "of", "made", {me})


def _tree(
    edges: list[dict[str, Any]], at: tuple[Any, ...], near: str, far: str, seen: set[tuple[Any, ...]], indent: int = 4
) -> Iterator[str]:
    """What is joined to `at`, and what to that. What was shown once is not shown again."""
    for edge in edges:
        if _key(edge[near]) == at:
            other, key = edge[far], _key(edge[far])
            state = " (deleted)" if other["deleted"] else " (above)" if key in seen else ""
            yield f"{' ' * indent}{other['dataset']}@{other['version']}{_by(other['produced_by'])}{state}"
            if key not in seen:
                seen.add(key)
                yield from _tree(edges, key, near, far, seen, indent + 2)


def _key(end: dict[str, Any]) -> tuple[Any, ...]:
    return end["project"], end["dataset"], end["version"]


def _by(produced_by: dict[str, Any]) -> str:
    if produced_by.get("pipeline"):
        return f"  by {produced_by['pipeline']}.{produced_by.get('stage', '')} run {produced_by.get('run', '?')}"
    return f"  by {produced_by['principal']}" if produced_by.get("principal") else ""


def _part(part: dict[str, Any]) -> Iterator[str]:
    attempt = part["attempt"]
    yield f"  part        {part['name']}  {part['digest']}"
    if attempt.get("id"):
        where = " · ".join(str(attempt[key]) for key in ("site", "cluster", "node") if attempt.get(key))
        yield f"  attempt     {attempt['id']}" + (f" on {where}" if where else "")
    if attempt.get("code"):
        yield f"  code        {attempt['code']}"
    yield from _sources(part["sources"], 12)


def _sources(sources: list[dict[str, Any]], indent: int) -> Iterator[str]:
    for source in sources[:SOURCES_SHOWN]:
        version = f"@{source['version']}" if source.get("version") else ""
        attempt = source.get("attempt") or {}
        by = f"  by {attempt['id']} on {attempt.get('node') or attempt.get('site')}" if attempt.get("id") else ""
        yield f"  {'from':<{indent}}{source['dataset']}{version}" + (f" part {source['part']}" if source.get("part") else "") + by
        yield from _sources(source.get("sources", []), indent + 2)
    if len(sources) > SOURCES_SHOWN:
        yield f"  {'':<{indent}}and {len(sources) - SOURCES_SHOWN} more"
