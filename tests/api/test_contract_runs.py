"""The OpenAPI document is true of an installation that is lived in too: pipelines, runs in every state, data sets, jobs of stages.

What is sent is whatever the document allows; names are those of things that are there, so that answers are more than 404.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup

from bushel.api.settings import Settings
from bushel.control.run_changes import approve
from bushel.control.storage_places import put_place
from bushel.domain.ids import encode_job_id
from bushel.spec.dataset import NewPlace
from bushel.store import tokens
from bushel.store.database import Database
from tests.api.conftest import Client, serve
from tests.api.test_contract import CHECKS, ENDLESS, SLOW_IS_FINE
from tests.control.lifecycle_world import World
from tests.control.pipeline_world import Pipelines, listing

EXAMPLES = 12
PROJECT = "home/main/main"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class LivedIn:
    admin: Client
    document: Any
    names: Mapping[str, list[str]]  # parameter → what is there


@pytest.fixture
def lived_in(database: Database, database_url: str, tmp_path: Path) -> Iterator[LivedIn]:
    world = World.build(database)
    for agent in world.agents:
        world.sync(agent)
    names = fill(Pipelines(world), tmp_path)
    with database.transaction() as tx:
        token = tokens.create(tx, world.principal.id, "test", ("read", "write"))[1]
    for host, port, _ in serve(database, replace(Settings(database_url, tmp_path), most_body_bytes=1024 * 1024)):
        yield LivedIn(Client(host, port, token), schemathesis.openapi.from_url(f"http://{host}:{port}/v1/openapi.json"), names)


def fill(pipelines: Pipelines, folder: Path) -> dict[str, list[str]]:
    """Runs that succeeded, failed, were stopped by a canary, let pass, cancelled, paused, done again, and one that goes on."""
    with pipelines.database.transaction() as tx:
        put_place(tx, pipelines.world.principal, PROJECT, "default", NewPlace(url=str(folder)).model_dump())
    canary = {"count": 1, "gates": {"rows": "within 2%", "columns": {"speed": {"mean": "within 1%"}}}}
    pipelines.run(document("drive", canary))
    pipelines.finish(results=making(100))
    stopped = pipelines.run(document("drive", canary, code="v2"))
    pipelines.finish(results=making(10))
    with pipelines.database.transaction() as tx:
        approve(tx, pipelines.world.principal, stopped, "it is meant to be so")
    pipelines.finish(results=making(10))
    failed = pipelines.run(document("drive", canary, code="v3", cache="never") | {"canary": {"count": 1, "gates": {"failed": "at most 9"}}})
    pipelines.finish(lambda stage, name: int((stage, name) == ("check", "a")), making(10))
    pipelines.rerun(failed)
    pipelines.settle()
    pipelines.cancel(pipelines.run(document("other", None)))
    pipelines.pause(pipelines.run(document("other", None)), True)
    pipelines.run(document("listed", {"count": 1}) | {"partitions": {"discovered_by": "sum"}, "stages": listed_stages()})
    pipelines.settle()
    pipelines.work(results=lambda *_: listing("a", "b"))
    pipelines.settle()
    with pipelines.database.transaction() as tx:
        jobs = [encode_job_id(row["id"]) for row in tx.all("select id from jobs order by id desc limit 20")]
    return {
        **{"pipeline": ["drive", "other", "listed"], "run": ["latest", *map(str, range(1, 6))], "version": ["1", "2", "latest"]},
        **{"dataset": ["frames", "total"], "job": jobs, "stage": ["decode", "check", "sum"], "partition": ["a", "b", "all"]},
    }


def document(name: str, canary: dict[str, Any] | None, code: str = "v1", **stage: Any) -> dict[str, Any]:
    stages = {
        "decode": {"run": code, "outputs": {"frames": "frames"}, "limit": 2, **stage},
        "check": {"run": code, "after": "decode"},
        "sum": {"once": True, "run": code, "after": "check", "outputs": {"total": "total"}},
    }
    days = [{"name": name, "digest": f"sha256:{name}"} for name in "abc"]
    return {"name": name, "partitions": days, "stages": stages, **({"canary": canary} if canary else {})}


def listed_stages() -> dict[str, Any]:
    return {"sum": {"once": True, "run": "ls"}, "decode": {"run": "x"}, "check": {"run": "x", "after": "decode"}}


def making(rows: int) -> Any:
    """Parts, and records that were set aside."""

    def result(stage: str, name: str) -> dict[str, Any] | None:
        if stage == "check":
            return None
        column = {"count": rows, "nulls": 0, "min": 1.0, "max": 1.0, "sum": float(rows), "sum_squares": float(rows)}
        made = {
            "digest": f"sha256:{hashlib.sha256(f'{stage} {name} {rows}'.encode()).hexdigest()}",
            **{"place": "default", "files": 1, "bytes": rows, "records": rows, "schema": {"speed": "double"}},
            "statistics": {"columns": {"speed": column}},
        }
        bad = {"total": rows, "bad": 1, "list": [{"record": "1", "error": "broken"}]}
        return {"body": {"outputs": {"frames" if stage == "decode" else "total": made}, "records": bad}}

    return result


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_people_meet_only_what_is_documented_where_much_is_there(lived_in: LivedIn, mode: GenerationMode) -> None:
    faults: dict[str, str] = {}
    done = 0
    for result in lived_in.document.get_all_operations():
        operation = result.ok()
        if not any(f"{{{name}}}" in operation.path for name in lived_in.names) or operation.path.endswith(ENDLESS):
            continue
        try:
            done += _try(operation, lived_in, mode)
        except Unsatisfiable:
            continue
        except (AssertionError, FailureGroup) as error:
            faults[operation.label] = "\n".join(map(str, getattr(error, "exceptions", [error])))
    assert mode is GenerationMode.NEGATIVE or done > 25, "what was sent met what is there"
    assert not faults, "\n\n".join(f"{label}\n{fault}" for label, fault in faults.items())


def _try(operation: Any, api: LivedIn, mode: GenerationMode) -> bool:
    """Whether it did something at least once."""
    answers: set[int] = set()

    @examples(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=SLOW_IS_FINE, database=None)
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def each(case: schemathesis.Case, data: st.DataObject) -> None:
        for place in (case.path_parameters, case.query):
            for name in set(place or {}) & set(api.names):
                if place is case.path_parameters or data.draw(st.booleans()):
                    place[name] = data.draw(st.sampled_from(api.names[name]))
        answer = case.call_and_validate(headers={"Authorization": f"Bearer {api.admin.token}"}, checks=CHECKS, timeout=30)
        answers.add(answer.status_code)

    each()
    return any(status < 300 for status in answers)
