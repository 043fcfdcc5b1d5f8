"""Blobs: bytes that jobs are given, kept once by their content."""

from __future__ import annotations

from bushel.client.http1 import quote
from bushel.client.operation import Operation


def exists(project: str, digest: str) -> Operation[None]:
    """Raises `NotFound` when it is not there yet."""
    return Operation("HEAD", path(project, digest))


def path(project: str, digest: str) -> str:
    return f"/v1/projects/{quote(project, keep='/')}/blobs/{quote(digest, keep=':')}"
