"""Who asks: `Authorization: Bearer bushel_<id>_<secret>` → a `Principal`.

Guarantees: secrets are compared in constant time, by their hash; a token that is unknown, revoked or expired, or whose
principal is disabled, is refused with one and the same answer. What was found is remembered for at most one second, by
the hash of the whole token, so other processes' revocations hold within a second; those made through this process hold
for every request that begins after their answer. Agents are refused by every route that is not theirs, and people by
theirs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import time
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from bushel.domain.errors import Forbidden, Unauthenticated
from bushel.domain.permissions import Role
from bushel.domain.principal import Principal
from bushel.store import tokens
from bushel.store.database import Database

REMEMBER_SECONDS = 1.0
_MOST_REMEMBERED = 4096


class Authenticator:
    """Finds principals by token. One for each app, in `app.state.authenticator`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: dict[bytes, tuple[float, Principal]] = {}
        self._generation = 0

    async def authenticate(self, authorization: str) -> Principal:
        """Whose token an Authorization header carries.

        Raises:
            Unauthenticated: nobody's.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token.isascii():
            raise _nobody()
        digest = hashlib.sha256(token.encode()).digest()
        found = self._remembered.get(digest)
        if found and time.monotonic() < found[0]:
            return found[1]
        return await run_in_threadpool(self._find, token, digest)

    def forget(self) -> None:
        """Somebody's roles, tokens or state changed: look again from now on."""
        self._generation += 1
        self._remembered = {}

    def _find(self, token: str, digest: bytes) -> Principal:
        generation = self._generation
        parts = tokens.split(token)
        if parts is None:
            raise _nobody()
        with self._database.transaction() as tx:
            row = tokens.find_live(tx, parts[0])
        if row is None or not hmac.compare_digest(bytes(row["secret_hash"]), tokens.hash_secret(parts[1])):
            raise _nobody()
        principal = Principal(
            id=row["principal_id"],
            name=row["name"],
            kind=row["kind"],
            token_id=row["id"],
            token_scopes=tuple(row["scopes"]),
            bindings={path: Role(role) for path, role in row["bindings"].items()},
            cluster_id=row["cluster_id"],
        )
        if generation == self._generation:  # nothing changed while we asked
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered = {}
            self._remembered[digest] = (time.monotonic() + REMEMBER_SECONDS, principal)
        return principal


def _nobody() -> Unauthenticated:
    return Unauthenticated("this needs a valid token", suggestion="send Authorization: Bearer bushel_…; see bushel token add --help")


_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="A token made by POST /v1/tokens.")


async def _authenticate(request: Request, _: Annotated[object, Depends(_bearer)]) -> Principal:
    authenticator: Authenticator = request.app.state.authenticator
    principal = await authenticator.authenticate(request.headers.get("authorization", ""))
    return dataclasses.replace(principal, request_id=request.state.request_id)


async def _person(principal: Annotated[Principal, Depends(_authenticate)]) -> Principal:
    if principal.kind == "agent":
        raise Forbidden("an agent's token opens the agent's own routes only")
    return principal


async def _agent(principal: Annotated[Principal, Depends(_authenticate)]) -> Principal:
    if principal.kind != "agent":
        raise Forbidden("only an agent's token opens this route", suggestion="bushel cluster add makes one")
    return principal


async def authenticate_person(request: Request) -> Principal:
    """The person who asks, by now: while a request lasts, tokens, roles and people change.

    Raises:
        Unauthenticated: nobody, or nobody any more.
        Forbidden: it is an agent.
    """
    return await _person(await _authenticate(request, None))


async def authenticate_agent(request: Request) -> Principal:
    """The agent that asks.

    Raises:
        Unauthenticated: nobody.
        Forbidden: it is a person.
    """
    return await _agent(await _authenticate(request, None))


CurrentPrincipal = Annotated[Principal, Depends(_person)]
"""A user or a service account."""

CurrentAgent = Annotated[Principal, Depends(_agent)]
"""An agent; its `cluster_id` is the one cluster that it speaks for."""
