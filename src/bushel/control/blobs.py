"""Uploads to a project.

Guarantees: only who may write blobs there can ask whether one exists or add one; each that is added is an audit row.
"""

from __future__ import annotations

from typing import Any

from bushel.control.audit import audit
from bushel.domain.errors import NotFound
from bushel.domain.principal import Principal
from bushel.store import blobs, scopes
from bushel.store.blobs import BlobFolder, Incoming
from bushel.store.database import Database, Transaction


def project_for_upload(tx: Transaction, principal: Principal, path: str) -> int:
    """The number of the project.

    Raises:
        NotFound: there is no such project, or the principal may not see it.
        Forbidden: it may not upload there.
    """
    if not principal.can("job:read", path):
        raise NotFound(f"there is no project {path}, or you may not see it")
    if not principal.can("blob:write", path):
        principal.may("job:submit", path, f"project {path}")  # the sentence of the refusal
    scope = scopes.find(tx, path)
    if scope is None or scope["kind"] != "project":
        raise NotFound(f"there is no project {path}, or you may not see it")
    return scope["id"]


def find_blob(tx: Transaction, principal: Principal, path: str, digest: str) -> dict[str, Any]:
    """
    Raises:
        NotFound: it was not uploaded to the project, or there is no such project.
        Forbidden: the principal may not upload there.
    """
    found = blobs.find(tx, project_for_upload(tx, principal, path), digest)
    if found is None:
        raise NotFound(f"{digest} was not uploaded to {path}")
    return found


def keep_blob(
    database: Database, folder: BlobFolder, principal: Principal, incoming: Incoming, *, path: str, project_id: int, digest: str
) -> bool:
    """Take a verified upload into the project. Whether it was not there before."""
    with database.transaction() as tx:
        blobs.lock_file(tx, project_id, digest)
        folder.keep(incoming, project_id, digest)
        added = blobs.insert(tx, project_id, digest, incoming.size_bytes, principal.id)
        if added:
            audit(tx, principal, "blob:write", f"blob/{digest}", path, size_bytes=incoming.size_bytes)
    return added
