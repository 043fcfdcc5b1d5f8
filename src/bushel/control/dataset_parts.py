"""What runs of pipelines need of data sets: inputs and outputs resolved before a stage, a version committed when it is done.

Guarantees: a version is committed in the caller's transaction, so together with the end of what made it. A stale or doubled attempt is
not among the parts that the caller hands over, so all it leaves are objects that nobody refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bushel.control import openlineage
from bushel.control.dataset_commit import commit, write_lineage
from bushel.control.datasets import dataset_in, selected
from bushel.control.storage_places import as_told, choose
from bushel.domain.errors import FieldProblem, InvalidDocument
from bushel.domain.principal import Principal
from bushel.spec.dataset import DatasetName
from bushel.spec.manifest import manifest_name
from bushel.store import datasets, scopes, storage_places
from bushel.store.database import Event, Transaction

_NAMES: TypeAdapter[str] = TypeAdapter(DatasetName)


def resolve_input(tx: Transaction, principal: Principal, project_path: str, reference: str) -> dict[str, Any]:
    """What a task is told of `drive/recordings@latest`, `…@12` or `…@sha256:…`; the newest where nothing is said.

    Raises:
        NotFound: there is no such data set or version, or the principal may not read it.
    """
    name, _, selector = reference.partition("@")
    principal.may("dataset:read", project_path, f"data set {name}")
    row = selected(tx, dataset_in(tx, project_path, _name(name)), selector or "latest")
    places = storage_places.by_id(tx, [int(number) for number in row["places"]])
    return {
        "dataset": name,
        "version": row["number"],
        "digest": f"sha256:{bytes(row['digest']).hex()}",
        "labels": row["labels"],
        "places": [as_told(place) for place in places.values()],
        "manifest": manifest_name(row),
    }


def resolve_output(tx: Transaction, principal: Principal, project_path: str, name: str) -> dict[str, Any]:
    """What a task is told of a data set that it writes a part of. One that is not there is made, in the place that is meant.

    Raises:
        Conflict: it is not there, and it is not clear where it should be stored.
    """
    principal.may("dataset:write", project_path, f"data set {name}")
    scope = scopes.find(tx, project_path)
    found = datasets.find(tx, [scope["id"]], _name(name)) if scope else []
    if scope and not found:
        places = choose(tx, scope["id"], project_path, None)
        datasets.insert(tx, scope["id"], name, [place["id"] for place in places], principal.id)
        tx.emit(Event("dataset.changed", project_path, f"dataset/{project_path}/{name}", principal.name))
    row = dataset_in(tx, project_path, name)
    stored_in = storage_places.by_id(tx, row["place_ids"])
    return {
        "dataset": name,
        "labels": row["labels"],
        "released": row["released"],
        "places": [as_told(stored_in[number]) for number in row["place_ids"] if number in stored_in],
    }


def secret_names(resolved: Mapping[str, Any]) -> list[str]:
    """Secrets that a task needs for what `resolve_input` or `resolve_output` gave."""
    return sorted({name for place in resolved["places"] for name in place["secrets"].values()})


def allowed_sites(resolved: Iterable[Mapping[str, Any]]) -> list[str] | None:
    """Sites at which a task can reach something of each of its inputs and outputs. None: any."""
    allowed: set[str] | None = None
    for each in resolved:
        sites = {site for place in each["places"] for site in place["sites"]}
        if sites and all(place["sites"] for place in each["places"]):
            allowed = sites if allowed is None else allowed & sites
    return None if allowed is None else sorted(allowed)


def commit_parts(
    tx: Transaction,
    *,
    project_id: int,
    project_path: str,
    dataset: str,
    parts: Iterable[tuple[str, Mapping[str, Any]]],
    produced_by: Mapping[str, Any],
    inputs: Sequence[tuple[str, int]] = (),
    actor: str = "controller/pipelines",
    withheld: bool = False,
) -> dict[str, Any]:
    """One version of `dataset` out of the parts of a stage: (partition, what its task said of the output), in the order of partitions.

    `withheld`: it has a number, and is not the current one before it is published.

    Raises:
        NotFound: the data set or an input is not there.
        InvalidDocument, Conflict: it cannot be committed; the message says why.
    """
    found = dataset_in(tx, project_path, dataset, project_id=project_id)
    rows = [selected(tx, dataset_in(tx, project_path, name, project_id=project_id), str(number), deleted=True) for name, number in inputs]
    row = commit(tx, found["id"], parts, inputs=rows, produced_by=produced_by, actor=actor, withheld=withheld)
    return {"dataset": dataset, "version": row["number"], "digest": f"sha256:{bytes(row['digest']).hex()}"}


def record_failed(
    tx: Transaction, *, project_id: int, project_path: str, produced_by: Mapping[str, Any], outputs: Sequence[str], message: str
) -> None:
    """A stage ended without its outputs: said in the lineage too."""
    for event in openlineage.failed_events(project_path, produced_by, outputs, message, tx.now.isoformat()):
        write_lineage(tx, project_id, None, event)


def _name(name: str) -> str:
    try:
        return _NAMES.validate_python(name)
    except ValidationError as error:
        raise InvalidDocument([FieldProblem("", f"{name[:200]!r} is no name of a data set. Write words such as drive/frames")]) from error
