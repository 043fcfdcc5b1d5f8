"""Who changed what: one row for each change, in the change's own transaction."""

from __future__ import annotations

from typing import Any

from bushel.domain.principal import Principal
from bushel.store.database import AuditEntry, Transaction


def audit(tx: Transaction, principal: Principal, action: str, object: str, scope_path: str, **detail: Any) -> None:
    """Note that `principal` did `action` (`job:cancel`) to `object` (`job/k7q2m`). `detail` never holds a secret."""
    tx.audit(
        AuditEntry(
            principal_id=principal.id,
            token_id=principal.token_id,
            action=action,
            object=object,
            scope_path=scope_path,
            request_id=principal.request_id,
            detail=detail,
        )
    )
