"""Data sets: versions, what differs, what they were made of, who needs them; and the places they are stored in."""

from __future__ import annotations

from bushel.client.http1 import quote
from bushel.client.operation import Operation, with_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from bushel.spec.dataset_views import (
        DatasetView,
        FullDatasetView,
        FullVersionView,
        LineageView,
        PartView,
        PinView,
        PlaceView,
        VersionView,
    )
    from bushel.spec.views import Page


def places_page(*, scope: str, page: str | None = None) -> Operation[Page[PlaceView]]:
    """Places that a scope can use."""
    return Operation("GET", "/v1/storage", parameters=[("scope", scope), ("page", page)])


def put_place(
    name: str,
    url: str,
    *,
    scope: str,
    jurisdiction: str = "",
    sites: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Operation[PlaceView]:
    """`secrets` maps access_key_id and secret_access_key to names of secrets."""
    document = {"url": url, "jurisdiction": jurisdiction, "sites": list(sites), "options": options or {}, "secrets": secrets or {}}
    return Operation("PUT", f"/v1/storage/{quote(name)}", parameters=[("scope", scope)], document=document)


def delete_place(name: str, *, scope: str) -> Operation[None]:
    """What lies there stays."""
    return Operation("DELETE", f"/v1/storage/{quote(name)}", parameters=[("scope", scope)])


def datasets_page(
    *, project: str | None = None, prefix: str | None = None, limit: int | None = None, page: str | None = None
) -> Operation[Page[DatasetView]]:
    return Operation("GET", "/v1/datasets", parameters=[("project", project), ("prefix", prefix), ("limit", limit), ("page", page)])


def get_dataset(dataset: str, *, project: str | None = None) -> Operation[FullDatasetView]:
    return Operation("GET", path(dataset), parameters=[("project", project)])


def put_dataset(dataset: str, document: Mapping[str, object] | None = None, *, project: str | None = None) -> Operation[FullDatasetView]:
    """Make it, or change what `document` holds: places, description, labels, released, keep_versions, keep_days."""
    return Operation("PUT", path(dataset), parameters=[("project", project)], document=dict(document or {}))


def versions_page(
    dataset: str, *, project: str | None = None, limit: int | None = None, page: str | None = None
) -> Operation[Page[VersionView]]:
    return Operation("GET", f"{path(dataset)}/versions", parameters=[("project", project), ("limit", limit), ("page", page)])


def get_version(dataset: str, version: str | int = "latest", *, project: str | None = None) -> Operation[FullVersionView]:
    return Operation("GET", path(dataset, version), parameters=[("project", project)])


def commit_version(
    dataset: str,
    parts: Sequence[Mapping[str, Any]],
    *,
    inputs: Sequence[Mapping[str, Any]] = (),
    project: str | None = None,
    idempotency_key: str | None = None,
) -> Operation[FullVersionView]:
    """`parts` are descriptors with a name, of what lies in the data set's places already."""
    document = {"parts": [dict(part) for part in parts], "inputs": [dict(each) for each in inputs]}
    return Operation(
        "POST", f"{path(dataset)}/versions", parameters=[("project", project)], document=document, headers=with_key(idempotency_key)
    )


def delete_version(dataset: str, version: str | int, *, project: str | None = None) -> Operation[None]:
    return Operation("DELETE", path(dataset, version), parameters=[("project", project)])


def parts_page(
    dataset: str, version: str | int = "latest", *, project: str | None = None, limit: int | None = None, page: str | None = None
) -> Operation[Page[PartView]]:
    return Operation("GET", f"{path(dataset, version)}/parts", parameters=[("project", project), ("limit", limit), ("page", page)])


def diff(dataset: str, version: str | int, *, against: str | int, project: str | None = None) -> Operation[dict[str, Any]]:
    return Operation("GET", f"{path(dataset, version)}/diff", parameters=[("against", against), ("project", project)])


def lineage(
    dataset: str, version: str | int = "latest", *, part: str | None = None, depth: int | None = None, project: str | None = None
) -> Operation[LineageView]:
    parameters = [("part", part), ("depth", depth), ("project", project)]
    return Operation("GET", f"{path(dataset, version)}/lineage", parameters=parameters)


def lineage_events_page(
    *,
    project: str | None = None,
    dataset: str | None = None,
    version: str | int | None = None,
    limit: int | None = None,
    page: str | None = None,
) -> Operation[Page[dict[str, Any]]]:
    """OpenLineage run events."""
    parameters = [("project", project), ("dataset", dataset), ("version", version), ("limit", limit), ("page", page)]
    return Operation("GET", "/v1/lineage/events", parameters=parameters)


def pin(
    dataset: str,
    version: str | int,
    consumer: str,
    *,
    reason: str = "",
    project: str | None = None,
    idempotency_key: str | None = None,
) -> Operation[PinView]:
    """It is not deleted until the consumer lets go."""
    document = {"consumer": consumer, "reason": reason}
    parameters = [("project", project)]
    return Operation("POST", f"{path(dataset, version)}/pins", parameters=parameters, document=document, headers=with_key(idempotency_key))


def unpin(dataset: str, version: str | int, consumer: str, *, project: str | None = None) -> Operation[None]:
    return Operation("DELETE", f"{path(dataset, version)}/pins", parameters=[("consumer", consumer), ("project", project)])


def pins_page(dataset: str, *, project: str | None = None, limit: int | None = None, page: str | None = None) -> Operation[Page[PinView]]:
    return Operation("GET", f"{path(dataset)}/pins", parameters=[("project", project), ("limit", limit), ("page", page)])


def path(dataset: str, version: str | int | None = None) -> str:
    """The address of a data set, or of one of its versions."""
    whole = f"/v1/datasets/{quote(dataset, keep='/')}"
    return whole if version is None else f"{whole}/versions/{quote(str(version), keep=':')}"
