"""Queues: who shares what with whom.

Guarantees: who gives a share decides it. A queue's weight, quota, guarantee and what it lends and borrows are changed by admins of the
place that its parent belongs to, or of the organisation for a queue at the top, so that no team raises its own. No change makes a
tree that promises what it cannot keep (`queue_rules`), whatever else is changed at the same time. Every change wakes the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bushel.control.audit import audit
from bushel.control.guards import scope_for
from bushel.domain.errors import Conflict, FieldProblem, Forbidden, InvalidDocument, NotFound
from bushel.domain.permissions import ScopeKind
from bushel.domain.principal import Principal
from bushel.spec.tenancy import NewQueue, QueueChange, quota_document
from bushel.store import queues
from bushel.store.database import SCHEDULE, Event, Transaction

AMOUNTS = ("resource_quota", "guarantee", "lending", "borrowing")


def create_queue(tx: Transaction, principal: Principal, document: NewQueue) -> dict[str, Any]:
    """A queue of a team or of the organisation, below another or at the top."""
    scope = scope_for(tx, principal, "queue:change", document.scope)
    if scope["kind"] == ScopeKind.PROJECT:
        raise InvalidDocument([FieldProblem("/scope", "queues belong to teams or to the organisation")])
    parent = None
    if document.parent is not None:
        parent = queues.find(tx, document.parent)
        if parent is None or not (document.scope + "/").startswith(parent["scope"] + "/"):
            raise InvalidDocument([FieldProblem("/parent", f"{document.scope} has no queue {document.parent} above it", "not_found")])
    _insist_on_the_giver(principal, document.name, document.scope, parent["scope"] if parent else None)
    from bushel.control.queue_rules import insist_on_rules  # here, because numpy would make each start of the server longer

    queues.lock_tree(tx)
    settings = queues.QueueSettings(
        weight=document.weight,
        job_quota=document.job_quota,
        **{name: getattr(document, name).amounts() for name in AMOUNTS},
    )
    with insist_on_rules(tx, document.name):
        queue_id = queues.create(tx, document.name, scope["id"], parent_id=parent["id"] if parent else None, settings=settings)
    return _changed(tx, principal, "create", document.name, queue_id)


def change_queue(tx: Transaction, principal: Principal, name: str, change: QueueChange) -> dict[str, Any]:
    """Other settings. A smaller quota stops nothing that runs; what waits meets the new limits. A guarantee is met at once.

    Raises:
        Conflict: the queue has another version than the change was made for.
    """
    from bushel.control.queue_rules import insist_on_rules  # as above

    before = seen_queue(tx, principal, name)
    _insist_on_the_giver(principal, name, before["scope"], before["parent_scope"])
    queues.lock_tree(tx)
    before = seen_queue(tx, principal, name)
    if change.version is not None and change.version != before["version"]:
        raise Conflict(f"the queue {name} has version {before['version']} by now", suggestion="get it, and change that")
    given = change.model_fields_set
    settings = queues.QueueSettings(
        weight=before["weight"] if change.weight is None else change.weight,
        job_quota=change.job_quota if "job_quota" in given else before["job_quota"],
        **{name: before[name] if (other := getattr(change, name)) is None else other.amounts() for name in AMOUNTS},
    )
    with insist_on_rules(tx, name):
        queues.change(tx, before["id"], settings)
    return _changed(tx, principal, "change", name, before["id"], sorted(given - {"version"}))


def remove_queue(tx: Transaction, principal: Principal, name: str) -> None:
    """
    Raises:
        Conflict: jobs, scopes or other queues still use it.
    """
    before = seen_queue(tx, principal, name)
    _insist_on_the_giver(principal, name, before["scope"], before["parent_scope"])
    queues.remove(tx, before["id"], name)
    tx.emit(Event("queue.changed", before["scope"], f"queue/{name}", principal.name, {"queue_id": before["id"], "removed": True}))
    audit(tx, principal, "queue:remove", f"queue/{name}", before["scope"])


def seen_queue(tx: Transaction, principal: Principal, name: str) -> dict[str, Any]:
    """A queue at, above or below a place that the principal may read.

    Raises:
        NotFound: there is none, or the principal may not know of it.
    """
    found = queues.find(tx, name)
    if found is not None:
        scope = found["scope"]
        if any((scope + "/").startswith(path + "/") or path.startswith(scope + "/") for path in principal.paths("queue:read")):
            return found
    raise NotFound(f"there is no queue {name}, or you may not see it", suggestion="bushel queue ls")


def _insist_on_the_giver(principal: Principal, name: str, scope: str, parent_scope: str | None) -> None:
    giver = parent_scope or scope.partition("/")[0]
    if not principal.can("queue:change", giver):
        raise Forbidden(f"{principal.name} may not change the share of {name}", suggestion=f"ask an admin of {giver}")


def _changed(tx: Transaction, principal: Principal, action: str, name: str, queue_id: int, changed: Sequence[str] = ()) -> dict[str, Any]:
    after = queues.find(tx, name)
    if after is None:
        raise LookupError(name)
    body = {"queue_id": queue_id, "version": after["version"]} | ({"changed": list(changed)} if changed else {})
    tx.emit(Event("queue.changed", after["scope"], f"queue/{name}", principal.name, body))
    tx.wake(SCHEDULE)
    audit(
        tx,
        principal,
        f"queue:{action}",
        f"queue/{name}",
        after["scope"],
        weight=after["weight"],
        job_quota=after["job_quota"],
        **{field: quota_document(after[field]) for field in AMOUNTS if after[field] or field == "resource_quota"},
    )
    return after
