"""The client library against a running Bushel: both clients do the same."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bushel.client import (
    AsyncClient,
    Client,
    InvalidDocument,
    JobCancelled,
    JobFailed,
    KeyReused,
    NotFound,
    Unauthenticated,
    as_completed,
    async_client,
    sync_client,
)
from bushel.client.context import installation
from tests.running_bushel import RunningBushel

SMALL: dict[str, Any] = {"resources": {"cpu": 0.1, "memory": "64MiB"}}


@pytest.fixture
def client(running: RunningBushel) -> Iterator[Client]:
    with Client(context=installation(str(running.home))) as client:
        yield client


def test_a_job_is_submitted_and_waited_for(client: Client) -> None:
    future = client.submit(run="echo hello; echo there >&2", name="greeting", **SMALL)
    job = future.result(timeout=30)
    assert job["status"]["state"] == "succeeded"
    assert sorted((record.stream, record.text) for record in future.logs()) == [("stderr", b"there\n"), ("stdout", b"hello\n")]
    assert client.future("greeting").id == future.id


def test_failure_and_cancellation_are_errors_of_the_result(client: Client) -> None:
    failed = client.submit(run="exit 7", **SMALL)
    with pytest.raises(JobFailed, match="exit code 7") as raised:
        failed.result(timeout=30)
    assert raised.value.job["status"]["exit_code"] == 7
    sleeping = client.submit(run="sleep 60", **SMALL)
    with pytest.raises(TimeoutError, match="within"):
        sleeping.result(timeout=0.1)
    sleeping.cancel(message="enough")
    with pytest.raises(JobCancelled):
        sleeping.result(timeout=30)


def test_jobs_come_in_the_order_in_which_they_end(client: Client) -> None:
    futures = client.submit_many([{"run": f"sleep {seconds}", **SMALL} for seconds in (1.2, 0.1)])
    ended = list(as_completed(futures, timeout=30))
    assert [future.id for future in ended] == [futures[1].id, futures[0].id]
    done, pending = client.wait(futures, timeout=5)
    assert (len(done), len(pending)) == (2, 0)


def test_a_map_gives_each_task_its_item(client: Client) -> None:
    future = client.map("echo $BUSHEL_ITEM", ["zero", {"one": 1}, 2], **SMALL)
    assert future.result(timeout=30)["status"]["counts"]["succeeded"] == 3
    printed = [[record.text for record in future.logs(index=index)] for index in range(3)]
    assert printed == [[b'"zero"\n'], [b'{"one": 1}\n'], [b"2\n"]]


def test_a_working_folder_travels(client: Client, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.sh").write_text("echo from the folder; ls -a")
    (tmp_path / "code" / ".gitignore").write_text("*.bin")
    (tmp_path / "code" / "large.bin").write_text("x")
    future = client.submit(run="sh main.sh", workdir=tmp_path / "code", **SMALL)
    future.result(timeout=30)
    printed = b"".join(record.text for record in future.logs())
    assert b"from the folder" in printed
    assert b"large.bin" not in printed


def test_the_same_key_gives_the_same_job(client: Client) -> None:
    key = f"key-{time.time_ns()}"
    first = client.submit(run="true", idempotency_key=key, **SMALL)
    assert client.submit(run="true", idempotency_key=key, **SMALL).id == first.id
    with pytest.raises(KeyReused):
        client.submit(run="false", idempotency_key=key, **SMALL)


def test_refusals_come_as_types_with_their_fix(client: Client, running: RunningBushel) -> None:
    with pytest.raises(InvalidDocument) as raised:
        client.submit(run="true", resources={"gpus": 1})
    assert raised.value.problems[0].pointer == "/resources/gpus"
    assert raised.value.problems[0].suggestion == "gpu"
    with pytest.raises(NotFound):
        client.jobs.get("zzzzz")
    found = installation(str(running.home))
    assert found is not None
    with pytest.raises(Unauthenticated), Client(url=found.url, token="bushel_0_wrong") as stranger:
        stranger.whoami()


def test_lists_go_over_all_pages(client: Client) -> None:
    futures = client.submit_many([{"run": "true", "hold": True, "labels": {"batch": "pages"}, **SMALL} for _ in range(7)])
    found = list(client.jobs.list(labels={"batch": "pages"}, limit=2))
    assert {job["metadata"]["id"] for job in found} == {future.id for future in futures}
    assert client.jobs.cancel_many({"labels": {"batch": "pages"}})["cancelled"] == 7


def test_events_are_watched_from_a_position(client: Client) -> None:
    position = client.events_page(newest_first=True, limit=1)["position"]
    future = client.submit(run="true", **SMALL)
    seen = []
    for event in client.watch(job=future.id, after=position):
        seen.append(event["kind"])
        if event["kind"] == "job.succeeded":
            break
    assert seen[0] == "job.submitted"
    assert len(seen) == len(set(seen))


def test_the_asyncio_client_does_the_same(running: RunningBushel) -> None:
    async def use() -> None:
        async with AsyncClient(context=installation(str(running.home))) as client:
            assert (await client.whoami())["name"] == "admin"
            job = await (await client.submit(run="echo hello", **SMALL))
            assert job["status"]["state"] == "succeeded"
            future = await client.future(str(job["metadata"]["id"]))
            assert [record.text async for record in future.logs()] == [b"hello\n"]
            slow, quick = await client.submit_many([{"run": f"sleep {seconds}", **SMALL} for seconds in (1.2, 0.1)])
            assert [future.id async for future in client.as_completed([slow, quick], timeout=30)] == [quick.id, slow.id]
            failed = await client.submit(run="exit 3", **SMALL)
            with pytest.raises(JobFailed):
                await failed
            mapped = await client.map("test $BUSHEL_ITEM = 5", [5, 5], **SMALL)
            assert (await mapped.result(timeout=30))["status"]["counts"]["succeeded"] == 2
            sleeping = await client.submit(run="sleep 60", **SMALL)
            with pytest.raises(TimeoutError):
                await sleeping.result(timeout=0.1)
            await sleeping.cancel()
            with pytest.raises(JobCancelled):
                await sleeping.result(timeout=30)
            assert sleeping.id in {job["metadata"]["id"] async for job in client.jobs.list(states=["cancelled"])}

    asyncio.run(use())


def test_both_clients_have_the_same_surface() -> None:
    def surface(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert surface(Client) | {"as_completed"} == surface(AsyncClient)
    blocking = {name: kind for name, kind in inspect.getmembers(sync_client, inspect.isclass) if issubclass(kind, sync_client._Resource)}
    for name, kind in blocking.items():
        if name != "_Resource":
            assert surface(kind) == surface(getattr(async_client, f"Async{name}"))
