"""Answers that can be asked for again.

Guarantees: an answer is stored in the transaction of its effect, so either both exist or neither; the same principal,
key, method, path and body get the same answer for as long as the database lives; a key that comes back with anything
else is refused. Of two requests with one key at the same time the second waits for the first. An answer that carries
a secret is stored sealed by the key in the state folder, so that it can be given again and the database alone does
not reveal it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from bushel.domain.errors import KeyReused
from bushel.store.database import Transaction

_CLAIM = """
    insert into idempotency_keys (principal_id, key, method_path, body_hash, answer)
    values (%s, %s, %s, %s, 'null')
    on conflict do nothing
    returning 1 as claimed
"""


def hash_body(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def answer_once(
    tx: Transaction,
    principal_id: int,
    key: str,
    method_path: str,
    body_hash: bytes,
    make: Callable[[], dict[str, Any]],
    *,
    seal_with: bytes | None = None,
) -> dict[str, Any]:
    """What `make` answered the first time that this was asked.

    Raises:
        KeyReused: the key was used for something else.
    """
    if tx.first(_CLAIM, (principal_id, key, method_path, body_hash)) is None:
        stored = tx.one(
            "select method_path, body_hash, answer from idempotency_keys where principal_id = %s and key = %s", (principal_id, key)
        )
        if (stored["method_path"], bytes(stored["body_hash"])) != (method_path, body_hash):
            raise KeyReused(f"the Idempotency-Key {key!r} was used for another request", suggestion="use a new key for a new request")
        return _open(stored["answer"], seal_with, key)
    answer = make()
    tx.execute(
        "update idempotency_keys set answer = %s where principal_id = %s and key = %s",
        (Jsonb(_seal(answer, seal_with, key)), principal_id, key),
    )
    return answer


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """One request's key, and what it was used for."""

    key: str
    method_path: str
    body_hash: bytes

    def answer_once(
        self, tx: Transaction, principal_id: int, make: Callable[[], dict[str, Any]], *, seal_with: bytes | None = None
    ) -> dict[str, Any]:
        return answer_once(tx, principal_id, self.key, self.method_path, self.body_hash, make, seal_with=seal_with)


def _seal(answer: dict[str, Any], seal_with: bytes | None, key: str) -> dict[str, Any]:
    if seal_with is None:
        return answer
    from bushel.control.encryption import seal_document

    return {"sealed": seal_document(seal_with, answer, bound_to=f"idempotency/{key}")}


def _open(stored: dict[str, Any], seal_with: bytes | None, key: str) -> dict[str, Any]:
    if seal_with is None:
        return stored
    from bushel.control.encryption import open_document

    return open_document(seal_with, stored["sealed"], bound_to=f"idempotency/{key}")
