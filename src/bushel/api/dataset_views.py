"""Rows of data sets as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bushel.control.datasets import counts
from bushel.control.storage_places import as_told
from bushel.spec.dataset_views import DatasetView, FullDatasetView, FullVersionView, PartView, PlaceView, VersionView
from bushel.spec.manifest import manifest_name
from bushel.store import datasets, storage_places
from bushel.store.database import Transaction


def place_view(row: Mapping[str, Any]) -> PlaceView:
    return {
        **{name: row[name] for name in ("name", "scope", "url", "jurisdiction", "sites", "options", "secrets")},  # type: ignore[typeddict-item]
        "created_at": row["created_at"].isoformat(),
    }


def dataset_view(row: Mapping[str, Any], places: Mapping[int, Mapping[str, Any]]) -> DatasetView:
    """`row` with what is current of it, where it was read too."""
    current = row.get("current_at")
    return {
        "name": row["name"],
        "project": row["project"],
        "description": row["description"],
        "places": [places[number]["name"] for number in row["place_ids"] if number in places],
        "labels": row.get("current_labels") or row["labels"],
        "released": row["released"],
        "keep_versions": row["keep_versions"],
        "keep_days": row["keep_days"],
        "created_by": row["creator"],
        "created_at": row["created_at"].isoformat(),
        "current": row["current_number"],
        "current_at": current.isoformat() if current else None,
        "counts": counts(row) if current else None,  # type: ignore[typeddict-item]
    }


def full_dataset_view(tx: Transaction, row: Mapping[str, Any]) -> FullDatasetView:
    """With what is current of it."""
    current = datasets.version(tx, row["id"], number=row["current_number"]) if row["current_number"] else None
    if current is not None:
        names = ("part_count", "file_count", "size_bytes", "record_count")
        row = {**row, **{name: current[name] for name in names}, "current_at": current["committed_at"], "current_labels": current["labels"]}
    places = places_of(tx, row)
    return {**dataset_view(row, places), "stored_in": [as_told(places[number]) for number in row["place_ids"] if number in places]}


def version_view(row: Mapping[str, Any], places: Mapping[int, Mapping[str, Any]]) -> VersionView:
    return {
        "dataset": row["dataset"],
        "project": row["project"],
        "number": row["number"],
        "digest": f"sha256:{bytes(row['digest']).hex()}",
        "labels": row["labels"],
        "counts": counts(row),  # type: ignore[typeddict-item]
        "schema": row["schema"],
        "statistics": row["statistics"],
        "places": sorted(places[int(number)]["name"] for number in row["places"] if int(number) in places),
        "produced_by": row["produced_by"],
        "committed_by": row["committed_by"],
        "committed_at": row["committed_at"].isoformat(),
        "withheld": row["withheld"],
        "deleted_at": row["deleted_at"].isoformat() if row["deleted_at"] else None,
    }


def places_of(tx: Transaction, *rows: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Every place that rows of data sets and versions name."""
    numbers = {number for row in rows for number in row.get("place_ids", ())} | {int(n) for row in rows for n in row.get("places", ())}
    return storage_places.by_id(tx, numbers)


def full_version_view(tx: Transaction, row: Mapping[str, Any]) -> FullVersionView:
    places = places_of(tx, row)
    inputs = datasets.lineage(tx, row["id"], up=True, depth=1, limit=100)
    of = datasets.versions_by_id(tx, [edge["id"] for edge in inputs])
    view = version_view(row, places)
    told = [as_told(places[int(number)]) for number in row["places"] if int(number) in places]
    return {
        **view,
        "current": datasets.by_id(tx, row["dataset_id"])["current_number"] == row["number"],
        "inputs": [{"dataset": made["dataset"], "project": made["project"], "version": made["number"]} for made in of.values()],
        "pinned_by": datasets.consumers(tx, row["id"]),
        "opened_by": {
            "dataset": view["dataset"],
            "version": view["number"],
            "digest": view["digest"],
            "labels": view["labels"],
            "places": told,
            "manifest": manifest_name(row),
        },
    }


def part_view(part: Mapping[str, Any], places: Mapping[int, Mapping[str, Any]]) -> PartView:
    return {
        "name": part["name"],
        "digest": part["digest"],
        "place": places[part["place_id"]]["name"] if part["place_id"] in places else "",
        "files": part["files"],
        "bytes": part["size_bytes"],
        "records": part["records"],
        "made_by": part["made_by"],
        "sources": part["sources"],
    }
