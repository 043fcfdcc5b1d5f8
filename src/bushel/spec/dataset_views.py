"""What the API answers about data sets: plain dictionaries at run time. Times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict


class PlaceView(TypedDict):
    name: str
    scope: str
    url: str
    jurisdiction: str
    sites: list[str]
    options: dict[str, Any]
    secrets: dict[str, str | None]  # names, never values
    created_at: str


class CountsView(TypedDict):
    parts: int
    files: int
    bytes: int
    records: int


class VersionView(TypedDict):
    dataset: str
    project: str
    number: int
    digest: str
    labels: dict[str, Any]
    counts: CountsView
    schema: dict[str, str]
    statistics: dict[str, Any]
    places: list[str]
    produced_by: dict[str, Any]
    committed_by: str
    committed_at: str
    withheld: bool  # committed, and not to become current before the gates of a canary hold
    deleted_at: str | None


class FullVersionView(VersionView):
    current: bool
    inputs: list[dict[str, Any]]
    pinned_by: list[str]
    opened_by: dict[str, Any]  # what `bushel.data` opens it with


class DatasetView(TypedDict):
    name: str
    project: str
    description: str
    places: list[str]
    labels: dict[str, Any]
    released: bool
    keep_versions: int | None
    keep_days: int | None
    created_by: str
    created_at: str
    current: int | None
    current_at: str | None
    counts: CountsView | None


class FullDatasetView(DatasetView):
    stored_in: list[dict[str, Any]]  # its places, as `bushel.data` writes to them


class PartView(TypedDict):
    name: str
    digest: str
    place: str
    files: int
    bytes: int
    records: int
    made_by: dict[str, Any]
    sources: list[dict[str, Any]]


class PinView(TypedDict):
    version: int
    consumer: str
    reason: str
    pinned_by: str
    pinned_at: str


class LineageView(TypedDict):
    version: VersionView
    upstream: list[dict[str, Any]]  # {depth, made, of}: `made` was made of `of`
    downstream: list[dict[str, Any]]
    part: dict[str, Any] | None  # the part that was asked for, with the attempt that made it
