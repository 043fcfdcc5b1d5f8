"""What routes declare that they need.

These are coroutines, so that FastAPI calls them in place instead of handing each to a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from starlette.concurrency import run_in_threadpool

from bushel.api.settings import Settings
from bushel.control.encryption import load_key
from bushel.control.idempotency import IdempotencyKey, hash_body
from bushel.store.database import Database, Transaction

MOST_KEY_LENGTH = 255


async def _database(request: Request) -> Database:
    return request.app.state.database


async def _settings(request: Request) -> Settings:
    return request.app.state.settings


CurrentDatabase = Annotated[Database, Depends(_database)]
CurrentSettings = Annotated[Settings, Depends(_settings)]


class Once:
    """Makes a POST safe to ask again: `once(tx, principal.id, make)` runs `make` unless its answer is already stored."""

    def __init__(self, key: IdempotencyKey | None) -> None:
        self._key = key

    def __call__(
        self, tx: Transaction, principal_id: int, make: Callable[[], dict[str, Any]], *, seal_with: bytes | None = None
    ) -> dict[str, Any]:
        """The answer, made or stored. `seal_with` encrypts the stored answer: for those that carry a secret."""
        return make() if self._key is None else self._key.answer_once(tx, principal_id, make, seal_with=seal_with)


async def _once(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=MOST_KEY_LENGTH, description="The same key and body get the same answer, for ever."),
    ] = None,
) -> Once:
    if idempotency_key is None:
        return Once(None)
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return Once(IdempotencyKey(idempotency_key, f"{request.method} {target}", hash_body(await request.body())))


CurrentOnce = Annotated[Once, Depends(_once)]


class TenancyChanges:
    """Transactions that change who may do what: this process looks principals up again once they are committed."""

    def __init__(self, request: Request) -> None:
        self._state = request.app.state

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        try:
            with self._state.database.transaction() as tx:
                yield tx
        finally:  # a commit whose answer was lost may have happened
            self._state.authenticator.forget()


async def _tenancy_changes(request: Request) -> TenancyChanges:
    return TenancyChanges(request)


CurrentTenancyChanges = Annotated[TenancyChanges, Depends(_tenancy_changes)]


async def secret_key(request: Request) -> bytes:
    """For a route that is not called by FastAPI; others declare `CurrentSecretKey`."""
    state = request.app.state
    key: bytes | None = getattr(state, "secret_key", None)
    if key is None:
        key = state.secret_key = await run_in_threadpool(load_key, state.settings.state_folder)
    return key


CurrentSecretKey = Annotated[bytes, Depends(secret_key)]
"""What secrets and sealed answers are encrypted with."""
