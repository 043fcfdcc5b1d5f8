"""Secrets: written by people, read by the tasks that name them, shown to nobody.

Guarantees: a value is stored only as AES-256-GCM ciphertext bound to its scope and name; no function but `reveal`
gives a value back, and that is for what goes to an agent. A job gets the value of its project, else its team's, else
the organisation's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bushel.control.audit import audit
from bushel.control.encryption import decrypt, encrypt, key_id
from bushel.control.guards import scope_for
from bushel.domain.errors import NotFound, TooLarge, Unavailable
from bushel.domain.principal import Principal
from bushel.store import secrets
from bushel.store.database import Event, Transaction

MOST_SECRETS = 1000
"""At one scope."""


def put_secret(tx: Transaction, principal: Principal, key: bytes, path: str, name: str, value: str) -> dict[str, Any]:
    """Store a value, in place of an earlier one."""
    scope = scope_for(tx, principal, "secret:change", path)
    nonce, ciphertext = encrypt(key, value.encode(), _place(scope["id"], name))
    row = secrets.put(tx, scope["id"], name, nonce, ciphertext, key_id(key), principal.id)
    if secrets.count(tx, scope["id"]) > MOST_SECRETS:
        raise TooLarge(f"{path} has {MOST_SECRETS} secrets, which is the most")
    tx.emit(Event("secret.changed", path, f"secret/{path}/{name}", principal.name))
    audit(tx, principal, "secret:change", f"secret/{path}/{name}", path)
    return {"name": name, "scope": path, "changed_by": principal.name, **row}


def remove_secret(tx: Transaction, principal: Principal, path: str, name: str) -> None:
    """
    Raises:
        NotFound: there is none at this very scope.
    """
    scope = scope_for(tx, principal, "secret:change", path)
    if not secrets.remove(tx, scope["id"], name):
        raise NotFound(f"{path} has no secret {name}")
    tx.emit(Event("secret.removed", path, f"secret/{path}/{name}", principal.name))
    audit(tx, principal, "secret:remove", f"secret/{path}/{name}", path)


def missing(tx: Transaction, project_id: int, names: Sequence[str]) -> list[str]:
    """Those of `names` that a job of this project would not get."""
    found = {row["name"] for row in secrets.nearest(tx, project_id, names)} if names else set()
    return [name for name in names if name not in found]


def reveal(tx: Transaction, key: bytes, project_id: int, names: Sequence[str]) -> dict[str, str]:
    """The values that a job of this project gets, by name; a name that no scope has is left out.

    Raises:
        Unavailable: a value was encrypted with another key.
    """
    if not names:
        return {}
    values: dict[str, str] = {}
    for row in secrets.nearest(tx, project_id, names):
        if row["key_id"] != key_id(key):
            raise Unavailable(
                f"the secret {row['name']} was encrypted with the key {row['key_id']}, which is not here", suggestion="restore secret.key"
            )
        place = _place(row["scope_id"], row["name"])
        values[row["name"]] = decrypt(key, bytes(row["nonce"]), bytes(row["ciphertext"]), place).decode()
    return values


def _place(scope_id: int, name: str) -> str:
    return f"secret/{scope_id}/{name}"
