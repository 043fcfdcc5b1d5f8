"""The tree of organisation, team and project, and the roles on it.

Guarantees: every change is checked against the principal's roles, and its event and audit row share its transaction.
A team begins with a queue of its own, a project with its team's.
"""

from __future__ import annotations

from typing import Any

from bushel.control.audit import audit
from bushel.control.guards import covers, insist_on_an_admin, known, lock_organisation, scope_for
from bushel.domain.errors import Conflict, FieldProblem, Forbidden, InvalidDocument, NotFound
from bushel.domain.permissions import Role, ScopeKind
from bushel.domain.principal import Principal
from bushel.store import queues, roles, scopes
from bushel.store.database import Event, Transaction


def create_scope(tx: Transaction, principal: Principal, path: str, queue: str | None) -> dict[str, Any]:
    """A team (`acme/research`, with its queue) or a project (`acme/research/vision`)."""
    parent_path, _, name = path.rpartition("/")
    if not parent_path:
        raise InvalidDocument(
            [FieldProblem("/path", "an installation has one organisation. Write organisation/team or organisation/team/project")]
        )
    parent = scope_for(tx, principal, "scope:change", parent_path)
    if parent["kind"] == ScopeKind.ORG:
        scope_id = scopes.create(tx, path, parent["id"])
        queue_name = queue or name
        queue_id = queues.create(tx, queue_name, scope_id, parent_id=None, settings=queues.QueueSettings())
        scopes.set_queue(tx, scope_id, queue_id)
        queue_event = Event("queue.changed", path, f"queue/{queue_name}", principal.name, {"queue_id": queue_id, "version": 1})
        tx.emit(queue_event)
    else:
        queue_id = parent["queue_id"] if queue is None else _queue_of(tx, path, queue)
        scope_id = scopes.create(tx, path, parent["id"], queue_id)
    return _changed(tx, principal, "created", path)


def change_scope(tx: Transaction, principal: Principal, path: str, queue: str) -> dict[str, Any]:
    """Give a project another default queue, or a team another queue of its own."""
    scope = scope_for(tx, principal, "scope:change", path)
    if scope["kind"] == ScopeKind.ORG:
        raise Conflict("an organisation has no queue of its own")
    scopes.set_queue(tx, scope["id"], _queue_of(tx, path, queue))
    return _changed(tx, principal, "changed", path)


def remove_scope(tx: Transaction, principal: Principal, path: str) -> None:
    """Remove an empty team or project, with its roles and secrets. Its events and audit rows stay.

    Raises:
        Conflict: projects, queues, jobs or principals still belong to it.
    """
    scope = scope_for(tx, principal, "scope:change", path)
    if scope["kind"] == ScopeKind.ORG:
        raise Conflict("the organisation stays for as long as the installation")
    parent = path.rpartition("/")[0]
    if not principal.can("scope:change", parent):
        raise Forbidden(f"{principal.name} may not remove {path}", suggestion=f"ask an admin of {parent}")
    scopes.remove(tx, scope["id"], path)
    tx.emit(Event("scope.removed", path, f"scope/{path}", principal.name, {"kind": scope["kind"]}))
    audit(tx, principal, "scope:remove", f"scope/{path}", path)


def grant_role(tx: Transaction, principal: Principal, name: str, path: str, role: Role) -> dict[str, Any]:
    """Give somebody a role at a scope, in place of the one that they hold at that very scope.

    Raises:
        Forbidden: the role is above the principal's own there.
        Conflict: the organisation would have no admin.
    """
    scope = scope_for(tx, principal, "role:change", path)
    if not covers(principal.bindings, path, role):
        raise Forbidden(f"you are not {role} of {path} yourself")
    organisation = lock_organisation(tx, path)
    other = known(tx, principal, name)
    row = roles.grant(tx, other["id"], scope["id"], role)
    if scope["kind"] == ScopeKind.ORG:
        insist_on_an_admin(tx, organisation)
    tx.emit(Event("role.granted", path, f"principal/{name}", principal.name, {"principal": name, "role": role}))
    audit(tx, principal, "role:grant", f"principal/{name}", path, role=role)
    return {"principal": name, "scope": path, **row}


def remove_role(tx: Transaction, principal: Principal, name: str, path: str) -> None:
    """Take away the role that somebody holds at this very scope.

    Raises:
        NotFound: they hold none there.
        Conflict: the organisation would have no admin.
    """
    scope = scope_for(tx, principal, "role:change", path)
    organisation = lock_organisation(tx, path)
    other = known(tx, principal, name)
    role = roles.remove(tx, other["id"], scope["id"])
    if role is None:
        raise NotFound(f"{name} has no role at {path}")
    if scope["kind"] == ScopeKind.ORG:
        insist_on_an_admin(tx, organisation)
    tx.emit(Event("role.removed", path, f"principal/{name}", principal.name, {"principal": name, "role": role}))
    audit(tx, principal, "role:remove", f"principal/{name}", path, role=role)


def _queue_of(tx: Transaction, path: str, queue: str) -> int:
    """A queue that belongs at or above `path`."""
    found = queues.find(tx, queue)
    if found is None or not (found["scope"] == path or path.startswith(found["scope"] + "/")):
        raise InvalidDocument([FieldProblem("/queue", f"{path} has no queue {queue}", "not_found")])
    return found["id"]


def _changed(tx: Transaction, principal: Principal, what: str, path: str) -> dict[str, Any]:
    scope = scopes.find(tx, path)
    if scope is None:
        raise LookupError(path)
    tx.emit(Event(f"scope.{what}", path, f"scope/{path}", principal.name, {"kind": scope["kind"], "queue": scope["queue"]}))
    audit(tx, principal, f"scope:{what.removesuffix('d')}", f"scope/{path}", path, queue=scope["queue"])
    return scope
