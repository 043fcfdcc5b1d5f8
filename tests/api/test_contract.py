"""The OpenAPI document is true: whatever is sent, no route answers with a fault, or with what the document does not say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from bushel.api.settings import Settings
from bushel.control.bootstrap import Bootstrapped, bootstrap
from bushel.store import tokens
from bushel.store.database import Database
from tests.api.access import World
from tests.api.conftest import Client, serve

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = ("/watch", "/follow")
EXAMPLES = 20
SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example, HealthCheck.filter_too_much]

for binary in ("application/gzip", "application/vnd.bushel.logs"):
    schemathesis.openapi.media_type(binary, st.binary())

    @schemathesis.serializer(binary)
    def as_it_is(_: Any, value: Any) -> bytes:
        return value if isinstance(value, bytes) else repr(value).encode()


pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Api:
    admin: Client
    agent: Client
    document: Any


@pytest.fixture(scope="module")
def api(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API with something in it: asked by an admin, by an agent, and its document."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute('create database "contract" template template')
    url = postgres_url.replace("/postgres", "/contract")
    folder: Path = tmp_path_factory.mktemp("state")
    with Database(url) as database:
        with database.transaction() as tx:
            made: Bootstrapped = bootstrap(tx)
        settings = replace(Settings(url, folder), lease_seconds=0.3, most_body_bytes=1024 * 1024)
        for host, port, _ in serve(database, settings):
            admin = Client(host, port, made.token)
            world = World(admin, "home/main")
            for make in (world.new_job, world.new_service, world.new_secret, world.new_queue, world.pinned_dataset):
                make()
            agent = admin.with_token(_agent_token(database, world.new_cluster()))
            yield Api(admin, agent, schemathesis.openapi.from_url(f"http://{host}:{port}/v1/openapi.json"))


def _agent_token(database: Database, cluster: str) -> str:
    with database.transaction() as tx:
        principal = tx.one(
            "select p.id from principals p join clusters c on c.id = p.cluster_id where c.name = %s and p.kind = 'agent'", (cluster,)
        )
        return tokens.create(tx, principal["id"], "test", ("read", "write"))[1]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_people_meet_only_what_is_documented(api: Api, mode: GenerationMode) -> None:
    _hold(api, api.admin, mode, lambda path: not path.startswith("/v1/agent/") and not path.endswith(ENDLESS))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_agents_meet_only_what_is_documented(api: Api, mode: GenerationMode) -> None:
    _hold(api, api.agent, mode, lambda path: path.startswith("/v1/agent/"))


def _hold(api: Api, client: Client, mode: GenerationMode, wanted: Callable[[str], bool]) -> None:
    faults: dict[str, str] = {}
    for result in api.document.get_all_operations():
        operation = result.ok()
        if not wanted(operation.path):
            continue
        try:
            _try(operation, client, mode)
        except Unsatisfiable:  # nothing of this kind can be sent to a route without fields
            continue
        except (AssertionError, FailureGroup) as error:
            faults[operation.label] = "\n".join(map(str, getattr(error, "exceptions", [error])))
    assert not faults, "\n\n".join(f"{label}\n{fault}" for label, fault in faults.items())


def _try(operation: Any, client: Client, mode: GenerationMode) -> None:
    @examples(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=SLOW_IS_FINE, database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {client.token}"}, checks=CHECKS, timeout=30)

    each()
