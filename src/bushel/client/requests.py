"""What a submission is made of, before anything is sent: documents out of arguments, items of a map, uploads to be made."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

ITEMS_FILE = ".bushel-items.jsonl"
"""In the working folder of a mapped job: one JSON value a line, the line of index 0 first."""

_TAKE_ITEM = f'BUSHEL_ITEM=$(sed -n "$((BUSHEL_TASK_INDEX + 1))p" {ITEMS_FILE}) || exit 127\nexport BUSHEL_ITEM\n'


def document_of(document: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A job document out of a mapping, of keyword arguments, or of both; the arguments win.

    Raises:
        TypeError: there is neither.
    """
    if document is None and not fields:
        raise TypeError("submit needs a job document, or its fields such as run=…")
    return {**(document or {}), **fields}


def map_document(
    run: str | Sequence[str], items: range | int | Sequence[Any], at_most: int | None, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The document of an array that runs `run` once for each item, and the files to put beside its own.

    `items` is a number or a range of indices, or JSON values; a value is in `BUSHEL_ITEM` of its task, the index in `BUSHEL_TASK_INDEX`.

    Raises:
        ValueError: there are no items, or the range goes backwards.
    """
    indices = range(items) if isinstance(items, int) else items if isinstance(items, range) else range(len(items))
    if not indices or indices.step < 1 or indices.start < 0:
        raise ValueError("map needs at least one item; a range counts upwards from 0 or more")
    array = f"{indices.start}-{indices[-1]}" + (f":{indices.step}" if indices.step > 1 else "")
    document: dict[str, Any] = {**fields, "array": array + (f"%{at_most}" if at_most else "")}
    document["run"] = run if isinstance(run, str) else list(run)
    if isinstance(items, int | range):
        return document, {}
    lines = "".join(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n" for item in items)
    command = run if isinstance(run, str) else f"exec {shlex.join(run)}"
    document["run"] = _TAKE_ITEM + command
    return document, {ITEMS_FILE: lines.encode()}


def folder_to_upload(document: Mapping[str, Any]) -> str | None:
    """The folder that the document names, where it is one that is not uploaded yet."""
    workdir = document.get("workdir")
    if workdir is None or (isinstance(workdir, str) and workdir.startswith("sha256:")):
        return None
    return os.path.abspath(os.path.expanduser(os.fspath(workdir)))
