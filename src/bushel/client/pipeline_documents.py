"""Pipeline documents on their way to the server: folders become digests, Python becomes a document.

Guarantees: a folder is packed and uploaded once, however many stages name it; nothing is imported but the module that was named.
"""

from __future__ import annotations

import importlib
import os
import sys

from bushel.client.errors import FieldProblem, InvalidDocument
from bushel.client.uploads import only_project, upload
from bushel.client.workdir import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from bushel.client.caller import Caller


def upload_workdirs(caller: Caller, document: dict[str, Any], base: str, project: str | None, *, file: str | None = None) -> None:
    """Put a digest in place of each folder; relative ones begin at `base`.

    The document's own `file` is left out of them: what a stage is made of is its part of the document, so that a word changed
    elsewhere in it does nothing again.
    """
    for folder, holders in folders(document, base).items():
        packed = pack(folder, without=file)
        with packed.file:
            upload(caller, str(document.get("project") or project or only_project(caller)), packed)
        for holder in holders:
            holder["workdir"] = packed.digest


def copied(document: Mapping[str, Any]) -> dict[str, Any]:
    """So that what was given stays as it is."""
    import copy

    return copy.deepcopy(dict(document))


def folders(document: dict[str, Any], base: str) -> dict[str, list[dict[str, Any]]]:
    """Each folder that a document names, and the parts of the document that do."""
    found: dict[str, list[dict[str, Any]]] = {}
    for holder in _with_folders(document):
        found.setdefault(os.path.normpath(os.path.join(base, os.path.expanduser(holder["workdir"]))), []).append(holder)
    return found


def _with_folders(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    stages = document.get("stages")
    for holder in (document.get("defaults"), *(stages.values() if isinstance(stages, dict) else ())):
        if isinstance(holder, dict) and isinstance(holder.get("workdir"), str) and not holder["workdir"].startswith("sha256:"):
            yield holder


def of_python(reference: str) -> dict[str, Any]:
    """The document of `module:name`, a `bushel.pipelines.Pipeline`; the module is looked for in this folder too.

    Raises:
        InvalidDocument: there is no such module, or nothing of that name in it is a pipeline.
    """
    module, _, name = reference.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidDocument([FieldProblem("", f"{reference}: {error}", "not_found")]) from error
    document = getattr(value, "document", None)
    if not callable(document):
        raise InvalidDocument([FieldProblem("", f"{reference} is no pipeline: make one with bushel.pipelines.Pipeline", "invalid")])
    return dict(document())  # type: ignore[call-overload]
