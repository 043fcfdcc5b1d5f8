"""Data sets: their immutable versions, what differs between two, what they were made of, who needs them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dataset_views import dataset_view, full_dataset_view, full_version_view, part_view, places_of, version_view
from bushel.api.dependencies import CurrentDatabase, CurrentOnce
from bushel.api.job_views import answer
from bushel.api.paging import Limit, Page, cut, decode_page, encode_page
from bushel.api.problems import responses
from bushel.control import dataset_lineage
from bushel.control import datasets as control
from bushel.spec import dataset_views as views
from bushel.spec.dataset import DatasetDocument, DatasetName, NewPin, NewVersion, Short, VersionSelector
from bushel.spec.fields import ScopePath
from bushel.spec.views import Page as Listed
from bushel.store import datasets

router = APIRouter(tags=["datasets"])

Dataset = Annotated[DatasetName, Path(description="The data set's name, drive/frames.")]
Version = Annotated[VersionSelector, Path(description="A number, a digest, or latest.")]
Project = Annotated[ScopePath | None, Query(description="Where it is. Left out: wherever you may read it.")]

NEWEST = 2**31 - 1


class LineageEvents(BaseModel):
    """OpenLineage run events in the order in which they were written."""

    items: list[dict[str, Any]]
    next_page: str | None


@router.get("/datasets", responses={**responses(), 200: {"model": Listed[views.DatasetView]}})
def list_datasets(
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    project: Project = None,
    prefix: Annotated[str, Query(max_length=191, pattern=r"^[a-z0-9._/-]*$", description="Names that begin so.")] = "",
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Data sets that you may read, by name."""
    after = decode_page(page, str, int) or ["", 0]
    with database.transaction() as tx:
        places = control.projects(tx, principal, "dataset:read", project)
        rows = datasets.page(tx, [place["id"] for place in places], prefix, (after[0], after[1]), limit + 1)
        rows, next_page = cut(rows, limit, lambda row: [row["name"], row["id"]])
        stored = places_of(tx, *rows)
    return answer({"items": [dataset_view(row, stored) for row in rows], "next_page": next_page, "estimated_total": None})


@router.get("/lineage/events", responses={**responses(), 200: {"model": LineageEvents}})
def list_lineage_events(
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    project: Project = None,
    dataset: Annotated[DatasetName | None, Query(description="Of versions of this data set alone; then with `version`.")] = None,
    version: Annotated[VersionSelector, Query(description="With `dataset`.")] = "latest",
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Lineage as OpenLineage events: what a collector reads from the beginning and goes on reading."""
    after = decode_page(page, int) or [0]
    with database.transaction() as tx:
        number = None
        if dataset is not None:
            row = control.selected(tx, control.find(tx, principal, dataset, project), version, deleted=True)
            number, project = row["id"], row["project"]
        places = [place["id"] for place in control.projects(tx, principal, "dataset:read", project)]
        rows = dataset_lineage.events(tx, places, number, after[0], limit + 1)
    rows, next_page = cut(rows, limit, lambda row: [row["id"]])
    return answer({"items": [row["body"] for row in rows], "next_page": next_page})


@router.get("/datasets/{dataset:path}/versions", responses={**responses(409), 200: {"model": Listed[views.VersionView]}})
def list_versions(
    dataset: Dataset, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None, limit: Limit = 100, page: Page = None
) -> Any:
    """Versions, the newest first."""
    before = (decode_page(page, int) or [NEWEST])[0]
    with database.transaction() as tx:
        found = control.find(tx, principal, dataset, project)
        rows, next_page = cut(datasets.version_page(tx, found["id"], min(before, NEWEST), limit + 1), limit, lambda row: [row["number"]])
        stored = places_of(tx, *rows)
    return answer({"items": [version_view(row, stored) for row in rows], "next_page": next_page, "estimated_total": None})


@router.post("/datasets/{dataset:path}/versions", status_code=201, responses={**responses(409), 201: {"model": views.FullVersionView}})
def commit_version(
    dataset: Dataset,
    document: NewVersion,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    project: Project = None,
) -> Any:
    """Commit a version of parts that lie in the data set's places. The same content again is the same version."""
    with database.transaction() as tx:
        made = once(tx, principal.id, lambda: {"version": control.commit_by_hand(tx, principal, dataset, document, project)["id"]})
        view = full_version_view(tx, datasets.versions_by_id(tx, [made["version"]])[made["version"]])
    return answer(view, 201)


@router.get("/datasets/{dataset:path}/versions/{version}", responses={**responses(409), 200: {"model": views.FullVersionView}})
def get_version(dataset: Dataset, version: Version, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None) -> Any:
    """One version, with what a program needs to open it."""
    with database.transaction() as tx:
        return answer(full_version_view(tx, control.selected(tx, control.find(tx, principal, dataset, project), version)))


@router.delete("/datasets/{dataset:path}/versions/{version}", status_code=204, responses=responses(409))
def delete_version(
    dataset: Dataset, version: Version, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None
) -> Response:
    """Delete a version that nobody has pinned. What it was made of, and what was made of it, stays known."""
    with database.transaction() as tx:
        control.delete_version(tx, principal, dataset, version, project)
    return Response(status_code=204)


@router.get("/datasets/{dataset:path}/versions/{version}/parts", responses={**responses(409), 200: {"model": Listed[views.PartView]}})
def list_parts(
    dataset: Dataset,
    version: Version,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    project: Project = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Parts of a version, in its order."""
    first = max(0, min((decode_page(page, int) or [0])[0], NEWEST))
    with database.transaction() as tx:
        row = control.selected(tx, control.find(tx, principal, dataset, project), version)
        parts = list(datasets.parts(tx, row["id"], first, limit))
        stored = places_of(tx, row)
    next_page = encode_page([first + len(parts)]) if first + len(parts) < row["part_count"] and parts else None
    items = [part_view(part, stored) for part in parts]
    return answer({"items": items, "next_page": next_page, "estimated_total": row["part_count"]})


@router.get("/datasets/{dataset:path}/versions/{version}/diff", responses=responses(409))
def diff_versions(
    dataset: Dataset,
    version: Version,
    against: Annotated[VersionSelector, Query(description="The older version.")],
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    project: Project = None,
) -> dict[str, Any]:
    """What is different in `version`: parts, counts, schema, labels, statistics."""
    with database.transaction() as tx:
        found = control.find(tx, principal, dataset, project)
        return control.diff(tx, control.selected(tx, found, against), control.selected(tx, found, version))


@router.get("/datasets/{dataset:path}/versions/{version}/lineage", responses={**responses(409), 200: {"model": views.LineageView}})
def get_lineage(
    dataset: Dataset,
    version: Version,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    project: Project = None,
    part: Annotated[Short | None, Query(description="Tell of this part too: its sources, attempt, node and code.")] = None,
    depth: Annotated[int, Query(ge=1, le=dataset_lineage.DEPTH_LIMIT)] = 10,
) -> Any:
    """What a version was made of, and what was made of it. Deleted versions can be asked for too."""
    with database.transaction() as tx:
        row = control.selected(tx, control.find(tx, principal, dataset, project), version, deleted=True)
        found = dataset_lineage.lineage(tx, principal, row, part=part, depth=depth)
        return answer({"version": version_view(row, places_of(tx, row)), **found})


@router.post(
    "/datasets/{dataset:path}/versions/{version}/pins", status_code=201, responses={**responses(409), 201: {"model": views.PinView}}
)
def pin_version(
    dataset: Dataset,
    version: Version,
    document: NewPin,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    project: Project = None,
) -> Any:
    """Say that somebody needs a version: it is not deleted until they let go."""

    def make() -> dict[str, Any]:
        row = control.pin(tx, principal, dataset, version, document.consumer, document.reason, project)
        pinned = {"consumer": document.consumer, "reason": document.reason, "pinned_by": principal.name, "pinned_at": tx.now.isoformat()}
        return {"version": row["number"], **pinned}

    with database.transaction() as tx:
        return answer(once(tx, principal.id, make), 201)


@router.delete("/datasets/{dataset:path}/versions/{version}/pins", status_code=204, responses=responses(409))
def unpin_version(
    dataset: Dataset,
    version: Version,
    consumer: Annotated[Short, Query()],
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    project: Project = None,
) -> Response:
    """Let go of a version."""
    with database.transaction() as tx:
        control.unpin(tx, principal, dataset, version, consumer, project)
    return Response(status_code=204)


@router.get("/datasets/{dataset:path}/pins", responses={**responses(409), 200: {"model": Listed[views.PinView]}})
def list_pins(
    dataset: Dataset, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None, limit: Limit = 100, page: Page = None
) -> Any:
    """Who needs which version."""
    after = decode_page(page, int, str) or [0, ""]
    with database.transaction() as tx:
        found = control.find(tx, principal, dataset, project)
        rows = datasets.pins(tx, found["id"], (min(after[0], NEWEST), after[1]), limit + 1)
    rows, next_page = cut(rows, limit, lambda row: [row["version"], row["consumer"]])
    items = [row | {"pinned_at": row["pinned_at"].isoformat()} for row in rows]
    return answer({"items": items, "next_page": next_page, "estimated_total": None})


@router.get("/datasets/{dataset:path}", responses={**responses(409), 200: {"model": views.FullDatasetView}})
def get_dataset(dataset: Dataset, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None) -> Any:
    """One data set, with what is current of it."""
    with database.transaction() as tx:
        return answer(full_dataset_view(tx, control.find(tx, principal, dataset, project)))


@router.put(
    "/datasets/{dataset:path}",
    responses={**responses(409), 200: {"model": views.FullDatasetView}, 201: {"model": views.FullDatasetView, "description": "It is new"}},
)
def put_dataset(
    dataset: Dataset, document: DatasetDocument, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None
) -> Any:
    """Make a data set, or change it. Releasing it, its labels, places and retention are for managers."""
    change = document.model_dump(exclude={"labels"}) | {"labels": document.labels.plain() if document.labels else None}
    with database.transaction() as tx:
        row, made = control.put(tx, principal, dataset, change, project)
        return answer(full_dataset_view(tx, row), 201 if made else 200)
