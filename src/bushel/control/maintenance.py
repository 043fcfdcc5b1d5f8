"""Maintenance: when a node is worked on, and why.

Guarantees: the windows of a node do not overlap, and are at most `WINDOWS_LIMIT`. A change of them makes a new version of the node in
the same transaction, so that no plan made before it places anything there. What runs when a window begins is left to run.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bushel.control.audit import audit
from bushel.control.fleet import found_node, may_change
from bushel.domain.errors import Conflict, FieldProblem, InvalidDocument, NotFound
from bushel.domain.principal import Principal
from bushel.store import maintenance, nodes
from bushel.store.database import SCHEDULE, Event, Transaction

WINDOWS_LIMIT = 16
"""Of one node."""


def plan_window(
    tx: Transaction, principal: Principal, cluster: str, name: str, starts_at: datetime, ends_at: datetime, reason: str
) -> dict[str, Any]:
    """Place nothing on a node that would run between these moments. The node.

    Raises:
        InvalidDocument: the window ends before it begins, is over, or lies where no calendar reaches.
        Conflict: the node has another window at that time, or too many.
    """
    path = may_change(tx, principal)
    node = found_node(tx, cluster, name)
    for field, moment in (("starts_at", starts_at), ("ends_at", ends_at)):
        if not 2000 <= moment.year < 9999:  # the last of them has no moment in some zones
            raise InvalidDocument([FieldProblem(f"/{field}", "it is not between the years 2000 and 9998")])
    if ends_at <= starts_at or ends_at <= tx.now:
        said = "it must end after it begins" if ends_at <= starts_at else "it is over already"
        raise InvalidDocument([FieldProblem("/ends_at", said, suggestion="give times with their zone, such as 2030-01-31T22:00:00+01:00")])
    version = nodes.new_version(tx, node["id"])
    maintenance.forget_past(tx, node["id"])
    known = maintenance.of_node(tx, node["id"])
    if other := next((window for window in known if window["starts_at"] < ends_at and starts_at < window["ends_at"]), None):
        raise Conflict(
            f"{cluster}/{name} is maintained from {other['starts_at'].isoformat()} to {other['ends_at'].isoformat()} already",
            suggestion="choose a time outside of that, or take that window away first",
        )
    if len(known) >= WINDOWS_LIMIT:
        raise Conflict(
            f"{cluster}/{name} has {WINDOWS_LIMIT} maintenance windows already", suggestion="take away those that are not needed"
        )
    window = maintenance.insert(tx, node["id"], starts_at, ends_at, reason, principal.name)
    told = {"window": window, "starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat(), "reason": reason}
    tx.emit(Event("node.maintenance_planned", path, f"node/{cluster}/{name}", principal.name, {"version": version, **told}))
    tx.wake(SCHEDULE)
    audit(tx, principal, "node:plan-maintenance", f"node/{cluster}/{name}", path, **told)
    return found_node(tx, cluster, name)


def take_window_away(tx: Transaction, principal: Principal, cluster: str, name: str, window: int) -> dict[str, Any]:
    """Let work onto a node at that time again. The node.

    Raises:
        NotFound: the node has no such window.
    """
    path = may_change(tx, principal)
    node = found_node(tx, cluster, name)
    version = nodes.new_version(tx, node["id"])
    if not maintenance.delete(tx, node["id"], window):
        raise NotFound(f"{cluster}/{name} has no maintenance window {window}", suggestion=f"bushel node get {cluster}/{name}")
    maintenance.forget_past(tx, node["id"])
    tx.emit(Event("node.maintenance_ended", path, f"node/{cluster}/{name}", principal.name, {"version": version, "window": window}))
    tx.wake(SCHEDULE)
    audit(tx, principal, "node:end-maintenance", f"node/{cluster}/{name}", path, window=window)
    return found_node(tx, cluster, name)
