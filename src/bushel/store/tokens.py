"""Tokens: how a request says who asks.

Guarantees: the database holds the SHA-256 of 256 random bits, never the token; a revoked or expired token, or one
whose principal is disabled, is not found by `find_live`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bushel.store.database import Transaction

PREFIX = "bushel"

_LIVE = """
    select t.id, t.secret_hash, t.scopes, t.expires_at, p.id as principal_id, p.name, p.kind, p.cluster_id,
           coalesce((select jsonb_object_agg(s.path, b.role) from role_bindings b join scopes s on s.id = b.scope_id
                     where b.principal_id = p.id), '{}') as bindings
    from tokens t join principals p on p.id = t.principal_id
    where t.id = %s and t.revoked_at is null and p.disabled_at is null and (t.expires_at is null or t.expires_at > now())
"""


def create(tx: Transaction, principal_id: int, name: str, scopes: Sequence[str], expires_at: datetime | None = None) -> tuple[str, str]:
    """Public id, and the whole token: the only time that it exists outside of its owner's hands."""
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    tx.execute(
        "insert into tokens (id, principal_id, secret_hash, name, scopes, expires_at) values (%s, %s, %s, %s, %s, %s)",
        (token_id, principal_id, hash_secret(secret), name, list(scopes), expires_at),
    )
    return token_id, f"{PREFIX}_{token_id}_{secret}"


def split(token: str) -> tuple[str, str] | None:
    """Id and secret, or None for what is not a token of ours."""
    prefix, _, rest = token.partition("_")
    token_id, _, secret = rest.partition("_")
    return (token_id, secret) if prefix == PREFIX and token_id and secret and len(token) <= 200 else None


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def find_live(tx: Transaction, token_id: str) -> dict[str, Any] | None:
    """The token with its principal and their roles."""
    return tx.first(_LIVE, (token_id,))


_SELECT = """
    select t.id, p.name as principal, t.name, t.scopes, t.created_at, t.expires_at, t.revoked_at, t.principal_id
    from tokens t join principals p on p.id = t.principal_id
"""


def find(tx: Transaction, token_id: str) -> dict[str, Any] | None:
    """Whether live or not."""
    return tx.first(_SELECT + " where t.id = %s", (token_id,))


def revoke(tx: Transaction, token_id: str) -> None:
    tx.execute("update tokens set revoked_at = coalesce(revoked_at, now()) where id = %s", (token_id,))


def listed(tx: Transaction, principal_id: int, after: str, limit: int) -> list[dict[str, Any]]:
    """One principal's, in order of id."""
    return tx.all(_SELECT + " where t.principal_id = %s and t.id > %s order by t.id limit %s", (principal_id, after, limit))
