"""`bushel dataset`: versions, what differs between them, what they were made of, who needs them."""

from __future__ import annotations

import argparse

from bushel.cli.command import Command
from bushel.cli.dataset_files import add_file_arguments, add_upload_arguments, add_verify_arguments, download, upload, verify
from bushel.cli.dataset_lineage import add_lineage_arguments, show_lineage
from bushel.cli.dataset_words import counted, diff_lines, project_of, reference
from bushel.cli.mistakes import Wrong, at_least_one
from bushel.cli.output import Column, show_list, show_object
from bushel.cli.session import Session
from bushel.cli.tenancy_common import every
from bushel.cli.words import ago, size
from bushel.client.operations import datasets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _name(dataset: dict[str, Any]) -> str:
    return dataset["name"]


def _labels(item: dict[str, Any]) -> str:
    values = []
    for name, value in sorted(item["labels"].items()):
        text = ", ".join(value) if isinstance(value, list) else str(value)
        values.append(f"released from {text}" if name == "released_from" else text)
    return " · ".join(values)


COLUMNS = (
    Column("NAME", _name, least=16),
    Column("VERSION", lambda dataset: dataset["current"] or "–", right=True),
    Column("PARTS", lambda dataset: f"{dataset['counts']['parts']:,}" if dataset["counts"] else "–", right=True),
    Column(
        "RECORDS",
        lambda dataset: f"{dataset['counts']['records']:,}" if dataset["counts"] and dataset["counts"]["records"] else "–",
        right=True,
        weight=3,
    ),
    Column("SIZE", lambda dataset: size(dataset["counts"]["bytes"]) if dataset["counts"] else "–", right=True),
    Column("COMMITTED", lambda dataset: ago(dataset["current_at"]), weight=4),
    Column("LABELS", _labels, least=8, weight=2),
    Column("PROJECT", lambda dataset: dataset["project"], least=10, wide=True),
    Column("PLACES", lambda dataset: ", ".join(dataset["places"]), least=8, wide=True),
)

VERSION_COLUMNS = (
    Column("VERSION", lambda version: version["number"], right=True),
    Column("PARTS", lambda version: f"{version['counts']['parts']:,}", right=True),
    Column("FILES", lambda version: f"{version['counts']['files']:,}", right=True, weight=2),
    Column("RECORDS", lambda version: f"{version['counts']['records']:,}", right=True),
    Column("SIZE", lambda version: size(version["counts"]["bytes"]), right=True),
    Column("COMMITTED", lambda version: ago(version["committed_at"])),
    Column("BY", lambda version: made_by(version) + (", withheld" if version["withheld"] else ""), least=10, weight=3),
    Column("DIGEST", lambda version: version["digest"][:19], weight=1),
)

PART_COLUMNS = (
    Column("PART", lambda part: part["name"], least=16),
    Column("FILES", lambda part: f"{part['files']:,}", right=True),
    Column("RECORDS", lambda part: f"{part['records']:,}", right=True),
    Column("SIZE", lambda part: size(part["bytes"]), right=True),
    Column("PLACE", lambda part: part["place"], least=6),
    Column("SITE", lambda part: part["made_by"].get("site", ""), weight=2),
    Column("DIGEST", lambda part: part["digest"][:19], weight=1),
)

PIN_COLUMNS = (
    Column("VERSION", lambda pin: pin["version"], right=True),
    Column("CONSUMER", lambda pin: pin["consumer"], least=10),
    Column("REASON", lambda pin: pin["reason"], least=10, weight=1),
    Column("BY", lambda pin: pin["pinned_by"]),
    Column("SINCE", lambda pin: ago(pin["pinned_at"])),
)


def made_by(version: dict[str, Any]) -> str:
    """`drive.decode run 88`, or who committed it by hand."""
    by = version["produced_by"]
    if by.get("pipeline"):
        return f"{by['pipeline']}.{by.get('stage', '')} run {by.get('run', '?')}"
    return by.get("principal") or version["committed_by"]


def _reference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="drive/frames, drive/frames@12 or @sha256:…; left out: the current one")


def _only_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME", help="drive/frames")


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prefix", metavar="PREFIX", nargs="?", default="", help="names that begin so")


def _ls(options: argparse.Namespace, session: Session) -> None:
    items = every(session, lambda page: datasets.datasets_page(project=session.project, prefix=options.prefix or None, page=page))
    show_list(session, items, COLUMNS, name=_name, empty="no data sets yet\nNext: bushel dataset add NAME")


def _get(options: argparse.Namespace, session: Session) -> None:
    name, version = reference(options.dataset)
    found = session.call(datasets.get_version(name, version, project=project_of(session)))
    show_object(session, found, name=lambda item: f"{item['dataset']}@{item['number']}", lines=_version_lines)
    session.next(f"bushel dataset lineage {name}@{found['number']}", f"bushel dataset verify {name}@{found['number']}")


def _version_lines(version: dict[str, Any]) -> list[str]:
    state = "" if version["current"] else " (not the current one)"
    told = [("made by", f"{made_by(version)}, {ago(version['committed_at'])}")]
    told += [("made of", ", ".join(f"{each['dataset']}@{each['version']}" for each in version["inputs"]))] if version["inputs"] else []
    for key, value in sorted(version["labels"].items()):
        told.append((key.replace("_", " "), ", ".join(value) if isinstance(value, list) else value))
    told += [("stored in", ", ".join(version["places"]) or "nothing"), ("digest", version["digest"])]
    told += [("pinned by", ", ".join(version["pinned_by"]))] if version["pinned_by"] else []
    if version["schema"]:
        told.append(("schema", ", ".join(f"{column} {kind}" for column, kind in sorted(version["schema"].items()))))
    for name, counter in sorted(version["statistics"]["counters"].items()):
        told.append((name, ", ".join(f"{count:,} {key}" for key, count in sorted(counter.items()))))
    width = max(10, *(len(name) for name, _ in told))
    head = f"{version['dataset']} version {version['number']}{state}, {counted(version['counts'])}"
    return [head, *(f"  {name:<{width}} {text}" for name, text in told)]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _only_name(parser)
    parser.add_argument("--place", action="append", metavar="NAME", help="where it is stored; may be repeated; left out: default")
    parser.add_argument("--description", metavar="TEXT", help="what it is, for people")
    parser.add_argument("--jurisdiction", action="append", default=[], metavar="NAME")
    parser.add_argument("--purpose", action="append", default=[], metavar="NAME", help="what it may be used for; may be repeated")
    parser.add_argument("--coordinate-system", metavar="NAME")
    parser.add_argument("--released", action="store_true", help="its versions may leave the jurisdiction of what they were made of")
    parser.add_argument("--keep-versions", type=at_least_one, metavar="N", help="of the newest; pinned ones stay in any case")
    parser.add_argument("--keep-days", type=at_least_one, metavar="N")


def _add(options: argparse.Namespace, session: Session) -> None:
    labels = {"jurisdiction": options.jurisdiction, "purpose": options.purpose, "coordinate_system": options.coordinate_system}
    said = {name: value for name, value in labels.items() if value}
    document = {
        "places": options.place,
        "description": options.description,
        "labels": said or None,
        "released": options.released or None,
        "keep_versions": options.keep_versions,
        "keep_days": options.keep_days,
    }
    given = {name: value for name, value in document.items() if value is not None}
    made = session.call(datasets.put_dataset(options.dataset, given, project=project_of(session)))
    show_object(session, made, name=_name, lines=lambda item: [f"{item['name']} is stored in {', '.join(item['places'])}"])


def _versions(options: argparse.Namespace, session: Session) -> None:
    versions = every(session, lambda page: datasets.versions_page(options.dataset, project=project_of(session), page=page))
    show_list(session, versions, VERSION_COLUMNS, name=lambda version: f"{version['dataset']}@{version['number']}", empty="no version yet")


def _parts_arguments(parser: argparse.ArgumentParser) -> None:
    _reference(parser)
    parser.add_argument("-n", "--limit", metavar="N", type=at_least_one, default=50, help="at most so many; default 50")


def _parts(options: argparse.Namespace, session: Session) -> None:
    name, version = reference(options.dataset)
    page = session.call(datasets.parts_page(name, version, project=project_of(session), limit=min(options.limit, 1000)))
    show_list(session, page["items"], PART_COLUMNS, name=lambda part: part["name"], empty="this version has no parts")
    if page["next_page"] and session.for_people:
        more = (page.get("estimated_total") or 0) - len(page["items"])
        session.note(f"{more:,} more: bushel dataset parts {options.dataset} --limit {options.limit * 4}")


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="the newer version; left out: the current one")
    parser.add_argument("against", metavar="VERSION", nargs="?", help="the older version; left out: the one before")


def _diff(options: argparse.Namespace, session: Session) -> None:
    name, version = reference(options.dataset)
    project = project_of(session)
    against = options.against
    if against is None:
        number = session.call(datasets.get_version(name, version, project=project))["number"]
        listed = session.call(datasets.versions_page(name, project=project, limit=1000))["items"]
        older = [each["number"] for each in listed if each["number"] < number]
        if not older:
            raise Wrong(f"{name} has no version before {number}")
        version, against = str(number), str(older[0])
    found = session.call(datasets.diff(name, version, against=against, project=project))
    show_object(session, found, name=lambda item: f"{name}@{item['old']}..{item['new']}", lines=diff_lines)


def _pin_arguments(parser: argparse.ArgumentParser) -> None:
    _reference(parser)
    parser.add_argument("--for", dest="consumer", required=True, metavar="WHO", help="who needs it: a model, a team, a run")
    parser.add_argument("--reason", default="", metavar="TEXT", help="what for")


def _pin(options: argparse.Namespace, session: Session) -> None:
    name, version = reference(options.dataset)
    made = session.call(datasets.pin(name, version, options.consumer, reason=options.reason, project=project_of(session)))
    session.note(f"{name}@{made['version']} is kept for {made['consumer']}")


def _unpin_arguments(parser: argparse.ArgumentParser) -> None:
    _reference(parser)
    parser.add_argument("--for", dest="consumer", required=True, metavar="WHO", help="who pinned it")


def _unpin(options: argparse.Namespace, session: Session) -> None:
    name, version = reference(options.dataset)
    session.call(datasets.unpin(name, version, options.consumer, project=project_of(session)))
    session.note(f"{options.consumer} no longer needs {options.dataset}")


def _pins(options: argparse.Namespace, session: Session) -> None:
    pins = every(session, lambda page: datasets.pins_page(options.dataset, project=project_of(session), page=page))
    show_list(session, pins, PIN_COLUMNS, name=lambda pin: pin["consumer"], empty="nobody has pinned a version")


def _delete(options: argparse.Namespace, session: Session) -> None:
    name, version = reference(options.dataset)
    if version == "latest":
        raise Wrong("which version?", suggestion=f"bushel dataset remove {name}@NUMBER")
    session.call(datasets.delete_version(name, version, project=project_of(session)))
    session.note(f"{name}@{version} is deleted; its files go within a week, its lineage stays")


VERBS = {
    "dataset": {
        "ls": Command("list data sets", _ls, _ls_arguments),
        "get": Command("show a version", _get, _reference),
        "add": Command("make a data set, or change it", _add, _add_arguments),
        "versions": Command("list the versions of a data set", _versions, _only_name),
        "parts": Command("list the parts of a version", _parts, _parts_arguments),
        "upload": Command("commit a folder as a version", upload, add_upload_arguments),
        "download": Command("copy a version into a folder", download, add_file_arguments, output=False),
        "diff": Command("show what differs between two versions", _diff, _diff_arguments),
        "verify": Command("read every byte of a version and compare", verify, add_verify_arguments),
        "lineage": Command("show what a version was made of, and what was made of it", show_lineage, add_lineage_arguments),
        "pin": Command("keep a version for somebody", _pin, _pin_arguments, output=False),
        "unpin": Command("let go of a version", _unpin, _unpin_arguments, output=False),
        "pins": Command("list who needs which version", _pins, _only_name),
        "remove": Command("delete a version that nobody has pinned", _delete, _reference, output=False),
    }
}
