"""Every role × every route × an object of one's own team and of another: no hole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.routing import APIRoute

from bushel.api.settings import Settings
from bushel.control.bootstrap import bootstrap
from bushel.store import tokens
from bushel.store.database import Database
from tests.api.access import AGENT_ROUTES, FLEET, OPEN_ROUTES, RANK, RULES, STREAMS, Rule, World
from tests.api.conftest import Client, serve

OWN, FOREIGN = "home/main", "home/other"
CHANGES = ("POST", "PUT", "PATCH", "DELETE")
SECRET = "hush-0b5c1e"


@dataclass
class Platform:
    database: Database
    app: Any
    admin: Client
    clients: dict[str, Client]

    def routes(self) -> set[tuple[str, str]]:
        """Every route that the app has, whether documented or not."""
        found = {("GET", route.path) for route in self.app.routes if type(route).__name__ == "Route"}
        found |= {(method, route.path) for route in self.app.routes for method in _methods(route)}
        for included in self.app.routes:
            router = getattr(included, "original_router", None)
            for route in router.routes if router else ():
                found |= {(method, "/v1" + route.path.replace(":path", "")) for method in _methods(route)}
        return found


def _methods(route: Any) -> set[str]:
    return set(getattr(route, "methods", None) or ()) if isinstance(route, APIRoute) else set()


@pytest.fixture(scope="module")
def platform(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute('create database "access" template template')
    url = postgres_url.replace("/postgres", "/access")
    folder: Path = tmp_path_factory.mktemp("state")
    with Database(url) as database:
        with database.transaction() as tx:
            made = bootstrap(tx)
            site = tx.one("insert into sites (name) values ('here') returning id")["id"]
            cluster = tx.one("insert into clusters (site_id, name) values (%s, 'fleet') returning id", (site,))["id"]
            tx.execute("insert into nodes (cluster_id, name, capacity) values (%s, 'n1', '{}')", (cluster,))
        for host, port, app in serve(database, Settings(url, folder)):
            admin = Client(host, port, made.token)
            for path in (FOREIGN, f"{FOREIGN}/main"):
                assert admin.post("/v1/scopes", json={"path": path}).status_code == 201
            yield Platform(database, app, admin, dict(_actors(database, admin, cluster)))


def _actors(database: Database, admin: Client, cluster: int) -> Iterator[tuple[str, Client]]:
    def actor(name: str, role: str | None, scope: str, *, kind: str = "user", **token: Any) -> tuple[str, Client]:
        with database.transaction() as tx:
            made = tx.one(
                "insert into principals (kind, name, scope_id, cluster_id) select %s, %s, id, %s from scopes where path = %s returning id",
                (kind, name, cluster if kind == "agent" else None, "home"),
            )["id"]
            if role:
                tx.execute("insert into role_bindings select %s, id, %s from scopes where path = %s", (made, role, scope))
            token_id, text = tokens.create(tx, made, "test", token.get("scopes", ("read", "write")))
            if token.get("change"):
                tx.execute(token["change"], {"principal": made, "token": token_id})
        return name, admin.with_token(text)

    yield actor("none", None, OWN)
    for role in ("viewer", "member", "manager", "admin"):
        yield actor(role if role != "admin" else "team-admin", role, OWN)
    yield actor("foreign-admin", "admin", FOREIGN)
    yield actor("organisation-admin", "admin", "home")
    yield actor("read-only", "admin", "home", scopes=("read",))
    yield actor("agent", None, OWN, kind="agent")
    yield actor("expired", "admin", "home", change="update tokens set expires_at = now() - interval '1 second' where id = %(token)s")
    yield actor("revoked", "admin", "home", change="update tokens set revoked_at = now() where id = %(token)s")
    yield actor("disabled", "admin", "home", change="update principals set disabled_at = now() where id = %(principal)s")
    yield "nobody", admin.with_token(None)
    yield "forged", admin.with_token(f"{admin.token}x")


ROLE_AT = {
    "none": {},
    "viewer": {OWN: "viewer"},
    "member": {OWN: "member"},
    "manager": {OWN: "manager"},
    "team-admin": {OWN: "admin"},
    "foreign-admin": {FOREIGN: "admin"},
    "organisation-admin": {OWN: "organisation", FOREIGN: "organisation"},
    "read-only": {OWN: "organisation", FOREIGN: "organisation"},
}


def test_every_route_has_a_rule(platform: Platform) -> None:
    """A new route is refused by this test until the table says who may."""
    ruled = set(RULES) | AGENT_ROUTES | OPEN_ROUTES | STREAMS
    routes = {(method, path) for method, path in platform.routes() if not path.startswith("/docs")}
    assert not routes - ruled, f"routes without a rule: {sorted(routes - ruled)}"
    assert not ruled - routes, f"rules without a route: {sorted(ruled - routes)}"


@pytest.mark.parametrize("team", [OWN, FOREIGN])
@pytest.mark.parametrize("actor", ROLE_AT)
def test_a_route_does_what_the_role_allows_and_nothing_else(platform: Platform, actor: str, team: str) -> None:
    world, faults = World(platform.admin, team), []
    for (method, path), rule in RULES.items():
        if (method, path) not in platform.routes():
            continue
        ask = rule.ask(world)
        answer = ask.send(platform.clients[actor], method)
        expected = _expected(rule, method, path, actor, team)
        if answer.status_code not in expected:
            faults.append(f"{method} {ask.path} {ask.params or ''}: {answer.status_code}, not {expected}: {answer.text[:200]}")
        if method in CHANGES and answer.status_code < 300 and rule.audited and not _audited(platform.database, answer):
            faults.append(f"{method} {path}: no audit row")
        if method in CHANGES and answer.status_code >= 400 and _audited(platform.database, answer):
            faults.append(f"{method} {path}: refused with {answer.status_code}, but left an audit row")
    assert not faults, f"{actor} on {team}:\n" + "\n".join(faults)


@pytest.mark.parametrize("actor", ["nobody", "forged", "expired", "revoked", "disabled"])
def test_without_a_live_token_nothing_is_answered(platform: Platform, actor: str) -> None:
    _all_refuse(platform, platform.clients[actor], 401, platform.routes() - OPEN_ROUTES)


def test_an_agent_may_ask_nothing_but_its_own_routes(platform: Platform) -> None:
    _all_refuse(platform, platform.clients["agent"], 403, platform.routes() - OPEN_ROUTES - AGENT_ROUTES)


def test_people_may_not_pose_as_agents(platform: Platform) -> None:
    for actor in ROLE_AT:
        _all_refuse(platform, platform.clients[actor], 403, platform.routes() & AGENT_ROUTES)


@pytest.mark.parametrize("actor", [actor for actor, held in ROLE_AT.items() if OWN not in held])
def test_a_stream_of_what_one_may_not_see_does_not_begin(platform: Platform, actor: str) -> None:
    world = World(platform.admin, OWN)
    job = world.ended_job()
    for path, params in (("/v1/events/watch", {"scope": OWN}), ("/v1/events/watch", {"job": job}), (f"/v1/jobs/{job}/logs/follow", {})):
        assert platform.clients[actor].get(path, params=params).status_code in (403, 404), path


@pytest.mark.parametrize("actor", ["viewer", "member", "read-only"])
def test_a_filter_cancels_only_what_one_may(platform: Platform, actor: str) -> None:
    job = World(platform.admin, OWN).new_job(hold=True)
    platform.clients[actor].post("/v1/jobs/cancel", json={"filter": {"project": f"{OWN}/main"}})
    assert platform.admin.get(f"/v1/jobs/{job}").json()["status"]["state"] == "held"


def test_a_secret_is_nowhere_in_the_clear(platform: Platform, capfd: pytest.CaptureFixture[str]) -> None:
    """No answer, no event, no audit row, no other row of any table, and no log holds it; nor a token."""
    answers = [
        platform.admin.put("/v1/secrets/HUSH", params={"scope": OWN}, json={"value": SECRET}),
        platform.admin.put("/v1/secrets/HUSH", params={"scope": OWN}, json={"value": SECRET, "more": 1}),
        platform.admin.put("/v1/secrets/HUSH", params={"scope": OWN}, json={"valu": SECRET}),
        platform.admin.put("/v1/secrets/HUSH", params={"scope": OWN}, json=SECRET),
        platform.admin.get("/v1/secrets", params={"scope": OWN}),
        platform.admin.get("/v1/audit"),
    ]
    token = platform.admin.post("/v1/tokens", json={"name": "x"}, headers={"Idempotency-Key": "secret-1"}).json()["token"]
    assert [answer.status_code for answer in answers] == [200, 422, 422, 422, 200, 200]
    assert not [answer.text for answer in answers if SECRET in answer.text]
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err
    assert token not in captured.out + captured.err
    with platform.database.transaction() as tx:
        tables = [
            row["name"]
            for row in tx.all("select relname as name from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace")
        ]
        for table in tables:
            rows = json.dumps(tx.all(f"select t::text as row from {table} t"))
            for value in (SECRET, token, token.rpartition("_")[2], SECRET.encode().hex(), token.encode().hex()):
                assert value not in rows, f"{table} holds it"


def _all_refuse(platform: Platform, client: Client, status: int, routes: set[tuple[str, str]]) -> None:
    faults = []
    for method, path in sorted(routes):
        filled = path.replace("{", "").replace("}", "").replace("/jobs/job", "/jobs/00001")
        answer = client.request(method, filled, json={} if method in CHANGES else None)
        if answer.status_code != status:
            faults.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
    assert not faults, "\n".join(faults)


def _expected(rule: Rule, method: str, path: str, actor: str, team: str) -> tuple[int, ...]:
    held = ROLE_AT[actor].get(team)
    if path.startswith(FLEET):
        held = next(iter(ROLE_AT[actor].values()), None)
    writes = method not in ("GET", "HEAD") if rule.writes is None else rule.writes
    if held is None and rule.least != "anyone":
        return (rule.roleless if actor == "none" and rule.roleless else rule.hidden,)
    if actor == "read-only" and writes:
        return (rule.refused,)
    if RANK[held or "anyone"] < RANK[rule.least]:
        return (rule.refused,)
    return (200, 201, 202, 204)


def _audited(database: Database, answer: Any) -> bool:
    with database.transaction() as tx:
        return tx.first("select 1 from audit where request_id = %s", (answer.headers["x-request-id"],)) is not None
