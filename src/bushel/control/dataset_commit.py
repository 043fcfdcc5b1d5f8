"""Committing a version of a data set: one transaction, in which it appears whole or not at all.

Guarantees:

- The store is not asked: whoever made the parts verified them before they were named here, and what is committed says exactly what
  they are by their digests.
- The same content is the same version: committing it again, by whomever, gives that version and makes it the current one.
- Labels are inherited from the inputs; nothing is committed into a place whose jurisdiction is not its own, unless the data set was
  declared as released by somebody who may.
- What a task wrote is checked like what a stranger sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter, ValidationError

from bushel.control import openlineage
from bushel.domain.errors import Conflict, FieldProblem, InvalidDocument
from bushel.domain.failpoints import reach
from bushel.spec import dataset_labels
from bushel.spec.dataset import MadeBy, PartDescriptor, Short
from bushel.spec.manifest import Total, header_of, version_digest
from bushel.store import datasets, storage_places
from bushel.store.database import Event, Transaction

DATASETS = "datasets"
"""Topic: a version was committed or deleted."""

_NAMES: TypeAdapter[str] = TypeAdapter(Short)
_MADE_BY = tuple(MadeBy.model_fields)


def commit(
    tx: Transaction,
    dataset_id: int,
    parts: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    inputs: Sequence[Mapping[str, Any]],
    produced_by: Mapping[str, Any],
    actor: str,
    withheld: bool = False,
) -> dict[str, Any]:
    """The version, as a row; the current one unless it is `withheld`.

    `parts` are names and descriptors in order; `inputs` are rows of versions.

    Raises:
        InvalidDocument: a descriptor is none, or names a place that the data set does not use.
        Conflict: it may not lie where it lies, or its inputs exclude each other.
    """
    dataset = datasets.by_id(tx, dataset_id, lock=True)
    places = {row["name"]: row for row in storage_places.by_id(tx, dataset["place_ids"]).values()}
    gathered = _gather(parts, places, dataset["name"])
    labels, lies_in = _labels(tx, dataset, inputs, gathered, places)
    header = header_of(labels, gathered.total)
    digest = version_digest(header, ((row[0], f"sha256:{row[1].hex()}") for row in gathered.rows))
    known = datasets.version(tx, dataset_id, digest=digest)
    if known is not None:
        if not withheld:
            datasets.make_current(tx, dataset_id, known["number"])
            if known["withheld"]:
                tell_published(tx, dataset["project"], dataset["name"], known["number"], actor)
        return known
    made = datasets.insert_version(
        tx,
        dataset_id,
        {**header, "digest": digest, "places": lies_in, "produced_by": dict(produced_by), "committed_by": actor},
        withheld=withheld,
    )
    reach("dataset_commit.after_version")
    datasets.insert_parts(tx, made["id"], gathered.rows)
    datasets.insert_inputs(tx, made["id"], [row["id"] for row in inputs])
    row = datasets.versions_by_id(tx, [made["id"]])[made["id"]]
    _tell(tx, row, inputs, produced_by, actor)
    reach("dataset_commit.before_commit")
    return row


def _reason(error: ValidationError | AttributeError) -> str:
    """What is wrong with a descriptor, by its field."""
    if isinstance(error, AttributeError):
        return "its descriptor is not an object"
    first = error.errors()[0]
    field = ".".join(str(step) for step in first["loc"])
    return f"{field}: {first['msg'].lower()}" if field else first["msg"]


class _Gathered:
    """Parts as rows, and what they add up to."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.total = Total()
        self.labels: dict[str, list[dict[str, Any]]] = {}  # place → different labels of its parts


def _gather(parts: Iterable[tuple[str, Mapping[str, Any]]], places: Mapping[str, Mapping[str, Any]], dataset: str) -> _Gathered:
    gathered = _Gathered()
    names: set[str] = set()
    for position, (name, descriptor) in enumerate(parts):
        try:
            name = _NAMES.validate_python(name)
            plain = {key: value for key, value in descriptor.items() if key != "name"}
            part = PartDescriptor.model_validate(plain, strict=True)  # strict, so what was sent can be used as it is
        except (ValidationError, AttributeError) as error:
            raise InvalidDocument([FieldProblem(f"/parts/{position}", f"the part {str(name)[:100]}: {_reason(error)}")]) from error
        if part.place not in places:
            known = ", ".join(sorted(places))
            raise InvalidDocument([FieldProblem(f"/parts/{position}/place", f"{dataset} is stored in {known}, not in {part.place}")])
        if name in names:
            raise InvalidDocument([FieldProblem(f"/parts/{position}/name", f"two parts are called {name}")])
        names.add(name)
        gathered.total.add({"schema": part.schema_, **plain, "statistics": plain.get("statistics") or {}})
        own = part.labels.plain() if plain.get("labels") else {}
        known_labels = gathered.labels.setdefault(part.place, [])
        if own and own not in known_labels:
            known_labels.append(own)
        digest = bytes.fromhex(part.digest.removeprefix("sha256:"))
        made_by = {name: plain["made_by"][name] for name in _MADE_BY if name in plain.get("made_by", ())}
        row = (name, digest, places[part.place]["id"], part.files, part.bytes, part.records, made_by, plain.get("sources", []))
        gathered.rows.append(row)
    return gathered


def _labels(
    tx: Transaction,
    dataset: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    gathered: _Gathered,
    places: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Of the version; and of each of its places the jurisdictions of what lies there."""
    input_places = storage_places.by_id(tx, {int(number) for row in inputs for number in row["places"]})
    lies_in: dict[str, list[str]] = {}
    for name, own in gathered.labels.items():
        place = places[name]
        found = {value for labels in (*own, dataset["labels"]) for value in labels.get(dataset_labels.JURISDICTION) or ()}
        for row in inputs:
            for number, jurisdictions in row["places"].items():
                if dataset_labels.share_a_site(input_places[int(number)]["sites"], place["sites"]):
                    found |= set(jurisdictions)
        if place["jurisdiction"]:
            found.add(place["jurisdiction"])
        if not dataset["released"] and not dataset_labels.may_lie(found, place["jurisdiction"]):
            raise Conflict(
                f"{dataset['name']} would hold data under {', '.join(sorted(found - {place['jurisdiction']}))} in the place {name}, "
                f"which is under {place['jurisdiction'] or 'no jurisdiction'}",
                suggestion="store it in a place of that jurisdiction; what may leave is a data set that a manager has released",
            )
        lies_in[str(place["id"])] = sorted(found)
    jurisdictions = sorted({value for values in lies_in.values() for value in values})
    inherited = [row["labels"] | {dataset_labels.JURISDICTION: []} for row in inputs]
    inherited += [{**labels, dataset_labels.COORDINATES: None} for own in gathered.labels.values() for labels in own]
    declared = dict(dataset["labels"]) | {dataset_labels.JURISDICTION: jurisdictions}
    declared.setdefault(dataset_labels.COORDINATES, _only_coordinates(gathered))
    try:
        labels = dataset_labels.inherited(inherited, declared, released=dataset["released"])
    except dataset_labels.LabelConflict as error:
        raise Conflict(f"{dataset['name']}: {error}") from error
    if dataset["released"]:
        lies_in = {number: [] for number in lies_in}
    return labels, lies_in


def _only_coordinates(gathered: _Gathered) -> str | None:
    found = {labels.get(dataset_labels.COORDINATES) for own in gathered.labels.values() for labels in own} - {None}
    if len(found) > 1:
        raise dataset_labels.LabelConflict(f"its parts have the coordinate systems {', '.join(sorted(map(str, found)))}")
    return next(iter(found), None)


def _tell(tx: Transaction, row: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]], produced_by: Mapping[str, Any], actor: str) -> None:
    for event in openlineage.run_events(row["project"], produced_by, inputs=inputs, output=row, now=tx.now.isoformat()):
        write_lineage(tx, row["project_id"], row["id"], event)
    body = {"dataset": row["dataset"], "number": row["number"], "digest": f"sha256:{bytes(row['digest']).hex()}"}
    body |= {"withheld": True} if row["withheld"] else {}
    tx.emit(Event("dataset.committed", row["project"], f"dataset/{row['project']}/{row['dataset']}", actor, body))
    tx.wake(DATASETS)


def tell_published(tx: Transaction, project: str, name: str, number: int, actor: str) -> None:
    """A version that was withheld became current."""
    tx.emit(Event("dataset.published", project, f"dataset/{project}/{name}", actor, {"dataset": name, "number": number}))


def write_lineage(tx: Transaction, project_id: int, version_id: int | None, event: Mapping[str, Any]) -> None:
    tx.execute("insert into lineage_events (project_id, version_id, body) values (%s, %s, %s)", (project_id, version_id, Jsonb(event)))
