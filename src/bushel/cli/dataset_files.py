"""The files behind a version: copy them, or read every byte and compare. They come from the storage places, not through the API."""

from __future__ import annotations

import argparse
import os

from bushel.cli import exits
from bushel.cli.dataset_words import counted, project_of, reference
from bushel.cli.live import Live, bar
from bushel.cli.mistakes import Wrong
from bushel.cli.output import Column, show_list, show_object
from bushel.cli.session import Session
from bushel.cli.terminal import to_json
from bushel.cli.words import plural, size
from bushel.client.operations import datasets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from bushel.storage.place import Place

_SITE_HELP = "read as a task at this site would; left out: BUSHEL_SITE"
PROBLEM_COLUMNS = (
    Column("PART", lambda problem: problem["part"], least=12),
    Column("FILE", lambda problem: problem["file"], least=12),
    Column("WHAT", lambda problem: problem["problem"], least=30, weight=1),
)


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="left out: the current version")
    parser.add_argument("folder", metavar="FOLDER", help="gets PART/FILE of every part")
    parser.add_argument("--part", metavar="NAME", help="only this part")
    parser.add_argument("--site", metavar="SITE", help=_SITE_HELP)


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="left out: the current version")
    parser.add_argument("--part", metavar="NAME", help="only this part")
    parser.add_argument("--site", metavar="SITE", help=_SITE_HELP)


def add_upload_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME", help="a data set that is there: bushel dataset add")
    parser.add_argument("folder", metavar="FOLDER", help="each file and each folder in it becomes a part")
    parser.add_argument("--made-of", action="append", default=[], metavar="NAME[@VERSION]", help="what it was made of; may be repeated")


def upload(options: argparse.Namespace, session: Session) -> None:
    from pathlib import Path

    from bushel.client import Client
    from bushel.data import new_version

    parts = sorted(Path(options.folder).iterdir())
    if not parts:
        raise Wrong(f"{options.folder} is empty")
    newest = _newest(options.dataset, session)
    with (
        Client(context=session.context) as client,
        Live(session) as live,
        new_version(options.dataset, inputs=options.made_of, project=project_of(session), client=client) as made,
    ):
        for position, path in enumerate(parts):
            live.show([f"{options.dataset}  {bar(position, len(parts))}  {path.name}"])
            with made.part(path.name) as out:
                for file in [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()):
                    out.add(file, file.name if file == path else file.relative_to(path).as_posix())
    version = made.result or {}
    name = f"{options.dataset}@{version['number']}"
    news = "" if version["number"] != newest else ", as before: nothing has changed"
    show_object(session, version, name=lambda _: name, lines=lambda item: [f"{name}: {counted(item['counts'])}{news}"])
    session.next(f"bushel dataset get {name}")


def _newest(dataset: str, session: Session) -> int | None:
    """Its number, if the data set is there and has a version."""
    page = session.call(datasets.versions_page(dataset, project=project_of(session), limit=1))
    return page["items"][0]["number"] if page["items"] else None


def download(options: argparse.Namespace, session: Session) -> None:
    from pathlib import Path

    count = total = 0
    for part, place, file in _files(options, session):
        target = Path(options.folder, part["name"], file["name"])
        target.parent.mkdir(parents=True, exist_ok=True)
        place.fetch(_object(part, file), target, file["digest"])
        count += 1
        total += file["size_bytes"]
    session.note(f"{plural(count, 'file')}, {size(total)}, in {options.folder}")


def verify(options: argparse.Namespace, session: Session) -> int:
    """Exit code 1 if anything is not as the version says."""
    from bushel.storage.place import PlaceError

    problems: list[dict[str, Any]] = []
    count = total = 0
    with Live(session) as live:
        for part, place, file in _files(options, session, problems):
            try:
                place.check(_object(part, file), file["size_bytes"], file["digest"])
            except PlaceError as error:
                problems.append({"part": part["name"], "file": file["name"], "problem": str(error)})
            count += 1
            total += file["size_bytes"]
            live.show([f"{options.dataset}  {bar(part['position'], part['of'])}  {plural(count, 'file')}  {size(total)}"])
    if session.output == "json":
        session.say(to_json({"files": count, "bytes": total, "problems": problems}, indent=2))
    elif problems or not session.for_people:
        show_list(session, problems, PROBLEM_COLUMNS, name=lambda problem: f"{problem['part']}/{problem['file']}", empty="")
    verdict = "all as it was committed" if not problems else f"{plural(len(problems), 'problem')}: do not use it"
    session.note(f"{options.dataset}: {plural(count, 'file')}, {size(total)}: {verdict}")
    return exits.ERROR if problems else exits.OK


def _object(part: dict[str, Any], file: dict[str, Any]) -> str:
    return f"parts/{part['digest'].removeprefix('sha256:')}/{file['name']}"


def _files(
    options: argparse.Namespace, session: Session, problems: list[dict[str, Any]] | None = None
) -> Iterator[tuple[dict[str, Any], Place, dict[str, Any]]]:
    """Every file with its part and place. With `problems`, a part that cannot be read is one of them; else it is an error."""
    from bushel.spec.dataset_labels import reachable
    from bushel.spec.manifest import PART_FILE, BadManifest, read_part
    from bushel.storage.place import PlaceError, open_place

    name, selector = reference(options.dataset)
    project = project_of(session)
    version = session.call(datasets.get_version(name, selector, project=project))
    site = options.site or os.environ.get("BUSHEL_SITE")
    told = {place["name"]: place for place in version["opened_by"]["places"]}
    opened: dict[str, Place] = {}
    parts = session.pages(lambda page: datasets.parts_page(name, version["number"], project=project, limit=1000, page=page))
    found = False
    for position, part in enumerate(parts, 1):
        if options.part is not None and part["name"] != options.part:
            continue
        found = True
        part |= {"position": position, "of": version["counts"]["parts"]}
        try:
            place_told = told[part["place"]]
            if not reachable(place_told["sites"], site) and site is not None:
                raise PlaceError(f"it lies in {part['place']}, which is bound to {', '.join(place_told['sites'])}")
            place = opened.get(part["place"]) or open_place(place_told, os.environ)
            opened[part["place"]] = place
            text = place.read(f"parts/{part['digest'].removeprefix('sha256:')}/{PART_FILE}")
            files = read_part(text, part["digest"])["files"]
        except (PlaceError, BadManifest) as error:
            if problems is None:
                raise Wrong(f"{part['name']}: {error}") from error
            problems.append({"part": part["name"], "file": "", "problem": str(error)})
            continue
        for file in files:
            yield part, place, file
    if options.part is not None and not found:
        raise Wrong(f"{options.dataset} has no part {options.part}", suggestion=f"bushel dataset parts {options.dataset}")
