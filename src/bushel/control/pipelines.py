"""Pipelines: what applying a document would change, and applying it.

Guarantees: a version is written only when the document differs from the newest; the same document applied by many at once makes one
version; a pipeline that the principal may not read is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bushel.control.audit import audit
from bushel.control.submission_checks import find_destinations
from bushel.domain.errors import Conflict, FieldProblem, InvalidDocument, NotFound
from bushel.domain.principal import Principal
from bushel.spec.pipeline_canonical import job_of
from bushel.store import jobs, pipelines
from bushel.store.database import Event, Transaction


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two documents. `pointer` is a JSON pointer; a side that has nothing there is None."""

    pointer: str
    before: Any
    after: Any


def find_pipeline(tx: Transaction, principal: Principal, name: str, project: str | None = None) -> dict[str, Any]:
    """The pipeline of that name in the projects that the principal may read (in `project` alone if given).

    Raises:
        NotFound: there is none.
        Conflict: several projects have one.
    """
    places = jobs.projects_below(tx, principal.paths("pipeline:read"), project)
    found = pipelines.find(tx, [place["id"] for place in places], name)
    if not found:
        raise NotFound(f"there is no pipeline {name}, or you may not see it", suggestion="bushel pipeline ls")
    if len(found) > 1:
        names = ", ".join(row["project"] for row in found[:5])
        raise Conflict(f"several projects have a pipeline {name}: {names}", suggestion=f"--project {found[0]['project']}")
    return found[0]


def document_of(tx: Transaction, pipeline: Mapping[str, Any], version: int | None = None) -> dict[str, Any]:
    """Of a version, or of the newest.

    Raises:
        NotFound: there is no such version.
    """
    number = pipeline["version"] if version is None else version
    document = pipelines.document(tx, pipeline["id"], number)
    if document is None:
        raise NotFound(f"pipeline {pipeline['name']} has no version {number}", suggestion=f"bushel pipeline get {pipeline['name']}")
    return document


def destination(tx: Transaction, principal: Principal, document: Mapping[str, Any], project: str | None) -> Any:
    """The project and queue of a pipeline.

    Raises:
        NotFound: there is no such project, or the principal may not see it.
        Forbidden: it may not submit there, or not at that priority.
        InvalidDocument: there is no such queue.
    """
    problems: list[FieldProblem] = []
    asked = {name: document[name] for name in ("project", "queue") if name in document}
    found = find_destinations(tx, principal, [asked], [()], project, problems)[0]
    if found is None:
        raise InvalidDocument(problems)
    principal.may("pipeline:change", found.path, f"project {found.path}")
    if document["priority"] > 500:
        principal.may("job:priority-high", found.path, f"project {found.path}")
    return found


def compare(
    tx: Transaction, principal: Principal, document: Mapping[str, Any], project: str | None
) -> tuple[Any, dict[str, Any] | None, list[Change]]:
    """Where the document belongs, the pipeline that is there, and how it differs from its newest version."""
    place = destination(tx, principal, document, project)
    found = next(iter(pipelines.find(tx, [place.project_id], document["name"])), None)
    before = document_of(tx, found) if found is not None and found["version"] else {}
    return place, found, differences(before, document)


def apply(tx: Transaction, principal: Principal, document: Mapping[str, Any], project: str | None = None) -> tuple[dict[str, Any], bool]:
    """Make the document the newest version of its pipeline. The pipeline, and whether that changed anything.

    Raises:
        NotFound, Forbidden, InvalidDocument: as `destination`; or a secret, workdir or site that the document names is not there.
    """
    place = destination(tx, principal, document, project)
    check_work(tx, document, place)
    pipelines.insert(tx, place.project_id, document["name"])
    row = pipelines.lock(tx, place.project_id, document["name"])
    if row is None:
        raise NotFound(f"there is no pipeline {document['name']}")
    changed = pipelines.version_digest(tx, row["id"], row["version"]) != pipelines.digest(document)
    if changed:
        version = row["version"] + 1
        pipelines.add_version(tx, row["id"], version, document, principal.id)
        name = f"pipeline/{document['name']}"
        tx.emit(Event("pipeline.applied", place.path, name, principal.name, {"version": version}))
        audit(tx, principal, "pipeline:apply", name, place.path, version=version)
    tx.flush()
    return pipelines.find(tx, [place.project_id], document["name"])[0], changed


def check_work(tx: Transaction, document: Mapping[str, Any], place: Any) -> None:
    """What stages name must be there, as with jobs.

    Raises:
        InvalidDocument: something is not.
    """
    from bushel.control.placement_checks import check_places
    from bushel.control.submission_checks import check_blobs, check_secrets
    from bushel.control.submit import Draft

    problems: list[FieldProblem] = []
    drafts = [Draft(("stages", name), job_of(stage), place) for name, stage in document["stages"].items()]
    for check in (check_secrets, check_blobs, check_places):
        check(tx, drafts, problems)
    if problems:
        raise InvalidDocument(problems)


def differences(before: Any, after: Any, pointer: str = "") -> list[Change]:
    """Field by field; lists that differ are one difference."""
    if before == after:
        return []
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return [Change(pointer, before, after)]
    found: list[Change] = []
    for name in dict.fromkeys((*before, *after)):
        below = f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
        if name not in before or name not in after:
            found.append(Change(below, before.get(name), after.get(name)))
        else:
            found += differences(before[name], after[name], below)
    return found
