"""Data sets as people use them: make, change, look, commit by hand, pin, delete.

Guarantees: who may not read a project learns nothing of its data sets; releasing, retention and deletion are for managers; a version
that somebody pinned, or that is the current one, is not deleted; each change leaves an event and an audit row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bushel.control.audit import audit
from bushel.control.dataset_commit import DATASETS, commit
from bushel.control.storage_places import choose
from bushel.domain.errors import Conflict, FieldProblem, InvalidDocument, NotFound, TooLarge
from bushel.domain.principal import Principal
from bushel.spec.dataset import NewVersion
from bushel.spec.dataset_diff import difference
from bushel.store import datasets, jobs, scopes
from bushel.store.database import Event, Transaction

FOR_MANAGERS = ("released", "keep_versions", "keep_days", "labels", "places")
"""Of a data set that is there."""

MOST_COMPARED_PARTS = 1_000_000


def projects(tx: Transaction, principal: Principal, permission: str, within: str | None) -> list[dict[str, Any]]:
    """Those on which the principal holds the permission."""
    return jobs.projects_below(tx, principal.paths(permission), within)


def one_project(tx: Transaction, principal: Principal, permission: str, path: str | None) -> dict[str, Any]:
    """The project at `path`, or the only one.

    Raises:
        NotFound, Forbidden: it is not there for this principal, or this is not for them to do.
        InvalidDocument: none was named, and there are several.
    """
    if path is None:
        found = projects(tx, principal, permission, None)
        if len(found) != 1:
            raise InvalidDocument([FieldProblem("/query/project", "which project is this for?", "missing", "--project PATH")])
        path = str(found[0]["path"])
    principal.may(permission, path, f"project {path}")
    scope = scopes.find(tx, path)
    if scope is None or scope["kind"] != "project":
        raise NotFound(f"there is no project {path}, or you may not see it")
    return scope


def find(tx: Transaction, principal: Principal, name: str, project: str | None, permission: str = "dataset:read") -> dict[str, Any]:
    """
    Raises:
        NotFound: there is none that the principal may see.
        Forbidden: they may see it, but not do this.
        Conflict: several projects have one of that name.
    """
    places = projects(tx, principal, "dataset:read", project)
    found = datasets.find(tx, [place["id"] for place in places], name)
    if not found:
        raise NotFound(f"there is no data set {name}, or you may not see it", suggestion="bushel dataset ls")
    if len(found) > 1:
        raise Conflict(f"several projects have a data set {name}", suggestion="name the project: --project PATH")
    principal.may(permission, found[0]["project"], f"data set {name}")
    return found[0]


def dataset_in(tx: Transaction, project_path: str, name: str, *, project_id: int | None = None) -> dict[str, Any]:
    """
    Raises:
        NotFound: the project has none of that name.
    """
    number = project_id or (scopes.find(tx, project_path) or {"id": 0})["id"]
    found = datasets.find(tx, [number], name)
    if not found:
        raise NotFound(f"{project_path} has no data set {name}", suggestion="bushel dataset ls")
    return found[0]


def selected(tx: Transaction, dataset: Mapping[str, Any], selector: str, *, deleted: bool = False) -> dict[str, Any]:
    """The version meant by `latest`, a number or a digest.

    Raises:
        NotFound: there is none, or it was deleted.
    """
    if selector == "latest":
        number = dataset["current_number"]
        row = datasets.version(tx, dataset["id"], number=number) if number else None
    elif selector.startswith("sha256:"):
        row = datasets.version(tx, dataset["id"], digest=bytes.fromhex(selector.removeprefix("sha256:")))
    else:
        row = datasets.version(tx, dataset["id"], number=int(selector)) if selector.isdecimal() and len(selector) < 10 else None
    if row is None:
        what = "no version yet" if selector == "latest" else f"no version {selector}"
        raise NotFound(f"{dataset['name']} has {what}", suggestion=f"bushel dataset versions {dataset['name']}")
    if row["deleted_at"] is not None and not deleted:
        raise NotFound(f"version {row['number']} of {dataset['name']} was deleted on {row['deleted_at']:%Y-%m-%d}")
    return row


def put(tx: Transaction, principal: Principal, name: str, change: Mapping[str, Any], project: str | None) -> tuple[dict[str, Any], bool]:
    """Make or change a data set. `change` holds what was said of it. Its row, and whether it is new."""
    scope = one_project(tx, principal, "dataset:write", project)
    found = datasets.find(tx, [scope["id"]], name)
    said = {key: value for key, value in change.items() if value is not None}
    if said.get("released") or (found and any(key in said for key in FOR_MANAGERS)):
        principal.may("dataset:change", scope["path"], f"data set {name}")
    if not found or "places" in said:
        said["place_ids"] = [place["id"] for place in choose(tx, scope["id"], scope["path"], said.get("places"))]
    if found and said.get("place_ids"):
        said["place_ids"] = list(dict.fromkeys([*said["place_ids"], *_needed_places(tx, found[0])]))
    number = datasets.insert(tx, scope["id"], name, said.get("place_ids", []), principal.id)
    datasets.change(tx, number, said)
    _tell(tx, principal, "dataset.changed", "dataset:change", scope["path"], name, said={key: said[key] for key in said if key != "places"})
    return datasets.by_id(tx, number), not found


def _needed_places(tx: Transaction, dataset: Mapping[str, Any]) -> list[int]:
    """What versions lie in stays a place of the data set."""
    rows = tx.all(
        "select distinct jsonb_object_keys(places) as place from dataset_versions where dataset_id = %s and deleted_at is null",
        (dataset["id"],),
    )
    return sorted(int(row["place"]) for row in rows)


def commit_by_hand(tx: Transaction, principal: Principal, name: str, document: NewVersion, project: str | None) -> dict[str, Any]:
    """A version of what somebody has put into its places."""
    dataset = find(tx, principal, name, project, "dataset:write")
    inputs = [selected(tx, find(tx, principal, each.dataset, dataset["project"]), each.version) for each in document.inputs]
    parts = [(part.name, part.model_dump(by_alias=True)) for part in document.parts]
    row = commit(tx, dataset["id"], parts, inputs=inputs, produced_by={"principal": principal.name}, actor=principal.name)
    audit(tx, principal, "dataset:commit", _object(dataset), dataset["project"], version=row["number"])
    return row


def delete_version(tx: Transaction, principal: Principal, name: str, selector: str, project: str | None) -> None:
    """
    Raises:
        Conflict: somebody pinned it.
    """
    dataset = find(tx, principal, name, project, "dataset:change")
    datasets.by_id(tx, dataset["id"], lock=True)
    row = selected(tx, dataset, selector)
    who = datasets.consumers(tx, row["id"])
    if who:
        raise Conflict(f"version {row['number']} of {name} is pinned by {', '.join(who)}", suggestion=f"bushel dataset pins {name}")
    datasets.delete_version(tx, row["id"])
    tx.wake(DATASETS)
    _tell(tx, principal, "dataset.version_deleted", "dataset:delete-version", dataset["project"], name, version=row["number"])


MOST_PINS = 1000
"""Of one version."""


def pin(tx: Transaction, principal: Principal, name: str, selector: str, consumer: str, reason: str, project: str | None) -> dict[str, Any]:
    """Somebody needs a version. Its row; pinned again only the reason changes."""
    dataset = find(tx, principal, name, project, "dataset:write")
    datasets.by_id(tx, dataset["id"], lock=True)
    row = selected(tx, dataset, selector)
    datasets.pin(tx, row["id"], consumer, reason, principal.id)
    if tx.one("select count(*) as count from dataset_pins where version_id = %s", (row["id"],))["count"] > MOST_PINS:
        raise TooLarge(f"version {row['number']} of {name} has {MOST_PINS} pins, which is the most")
    _tell(tx, principal, "dataset.pinned", "dataset:pin", dataset["project"], name, version=row["number"], consumer=consumer)
    return row


def unpin(tx: Transaction, principal: Principal, name: str, selector: str, consumer: str, project: str | None) -> None:
    """
    Raises:
        NotFound: the consumer has not pinned it.
    """
    dataset = find(tx, principal, name, project, "dataset:write")
    row = selected(tx, dataset, selector)
    if not datasets.unpin(tx, row["id"], consumer):
        raise NotFound(f"{consumer} has not pinned version {row['number']} of {name}")
    _tell(tx, principal, "dataset.unpinned", "dataset:unpin", dataset["project"], name, version=row["number"], consumer=consumer)


def diff(tx: Transaction, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What is different between two versions.

    Raises:
        TooLarge: they have too many parts to be compared in one request.
    """
    if max(old["part_count"], new["part_count"]) > MOST_COMPARED_PARTS:
        raise TooLarge(f"versions of more than {MOST_COMPARED_PARTS:,} parts are not compared in one request")
    found = difference(_counted(old), _counted(new), datasets.digests(tx, old["id"]), datasets.digests(tx, new["id"]))
    return {"old": old["number"], "new": new["number"], **found}


def counts(row: Mapping[str, Any]) -> dict[str, int]:
    return {"parts": row["part_count"], "files": row["file_count"], "bytes": row["size_bytes"], "records": row["record_count"]}


def _counted(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("labels", "schema", "statistics")} | {"counts": counts(row)}


def _object(dataset: Mapping[str, Any]) -> str:
    return f"dataset/{dataset['project']}/{dataset['name']}"


def _tell(tx: Transaction, principal: Principal, kind: str, action: str, project: str, name: str, **detail: Any) -> None:
    tx.emit(Event(kind, project, f"dataset/{project}/{name}", principal.name, detail))
    audit(tx, principal, action, f"dataset/{project}/{name}", project, **detail)
