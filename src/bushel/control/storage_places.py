"""Storage places: who may add them, and which of them a project can use.

Guarantees: a place is under one jurisdiction for as long as something lies there, and its address never changes; secrets are named,
never held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bushel.control.audit import audit
from bushel.control.guards import scope_for
from bushel.domain.errors import Conflict, FieldProblem, InvalidDocument, NotFound, TooLarge
from bushel.domain.principal import Principal
from bushel.store import storage_places
from bushel.store.database import Event, Transaction

MOST_PLACES = 200
"""At one scope."""

DEFAULT = "default"
"""The place of a data set for which none was named."""


def put_place(tx: Transaction, principal: Principal, path: str, name: str, place: Mapping[str, Any]) -> dict[str, Any]:
    """Add a place, or change what may change of it.

    Raises:
        Conflict: it is there with another address or under another jurisdiction.
        InvalidDocument: it names a site that is not there.
    """
    scope = scope_for(tx, principal, "storage:change", path)
    unknown = set(place["sites"]) - storage_places.known_sites(tx, place["sites"])
    if unknown:
        raise InvalidDocument([FieldProblem("/sites", f"there is no site {min(unknown)}", "unknown", "bushel site ls")])
    there = storage_places.lock_name(tx, scope["id"], name)
    for field, what in (("url", "address"), ("jurisdiction", "jurisdiction")):
        if there is not None and there[field] != place[field]:
            raise Conflict(
                f"the place {name} of {path} has the {what} {there[field] or 'none'}, and what lies there relies on it",
                suggestion="add a place of another name",
            )
    storage_places.put(tx, scope["id"], name, place)
    if storage_places.count(tx, scope["id"]) > MOST_PLACES:
        raise TooLarge(f"{path} has {MOST_PLACES} storage places, which is the most")
    tx.emit(Event("storage.changed", path, f"storage/{path}/{name}", principal.name, {"url": place["url"]}))
    audit(tx, principal, "storage:change", f"storage/{path}/{name}", path, url=place["url"], jurisdiction=place["jurisdiction"])
    return storage_places.lock_name(tx, scope["id"], name) | {"scope": path}  # type: ignore[operator]


def remove_place(tx: Transaction, principal: Principal, path: str, name: str) -> None:
    """Forget a place; what lies there stays.

    Raises:
        NotFound: there is none at this very scope.
        Conflict: it is in use.
    """
    scope = scope_for(tx, principal, "storage:change", path)
    place = storage_places.lock_name(tx, scope["id"], name)
    if place is None:
        raise NotFound(f"{path} has no storage place {name}")
    if not storage_places.remove(tx, place["id"]):
        raise Conflict(f"data sets use the storage place {name}", suggestion="bushel dataset ls -o wide")
    tx.emit(Event("storage.removed", path, f"storage/{path}/{name}", principal.name))
    audit(tx, principal, "storage:remove", f"storage/{path}/{name}", path)


def choose(tx: Transaction, project_id: int, project_path: str, names: Sequence[str] | None) -> list[dict[str, Any]]:
    """The places that were named, or the one that is meant where none was: `default`, or the only one.

    Raises:
        InvalidDocument: one that was named is not there.
        Conflict: none is meant.
    """
    found = {row["name"]: row for row in storage_places.nearest(tx, project_id, names)}
    if names is not None:
        for position, name in enumerate(names):
            if name not in found:
                problem = FieldProblem(f"/places/{position}", f"{project_path} has no storage place {name}", "unknown", "bushel storage ls")
                raise InvalidDocument([problem])
        return [found[name] for name in dict.fromkeys(names)]
    if DEFAULT in found:
        return [found[DEFAULT]]
    if len(found) == 1:
        return list(found.values())
    some = f"it can use {', '.join(sorted(found))}" if found else "it has none"
    raise Conflict(f"where should a data set of {project_path} be stored? {some}", suggestion="bushel storage add default /a/folder")


def as_told(place: Mapping[str, Any]) -> dict[str, Any]:
    """A place as a task is told of it."""
    return {
        "name": place["name"],
        "url": place["url"],
        "sites": list(place["sites"]),
        "jurisdiction": place["jurisdiction"],
        "options": {name: value for name, value in place["options"].items() if value},
        "secrets": {name: value for name, value in place["secrets"].items() if value},
    }
