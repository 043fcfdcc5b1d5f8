"""Logs over HTTP: agents bring what is theirs, readers get every byte they may see, and an end that is one."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from bushel.api import log_follow
from bushel.control.disk_retention import Sweep
from bushel.domain.ids import attempt_id, encode_job_id
from bushel.spec import logs as spec
from bushel.store import tokens
from bushel.store.database import Database, Event
from tests.api.watching import Watch


def record(text: bytes | str, stream: str = "stdout", tag: str = "F") -> bytes:
    text = text.encode() if isinstance(text, str) else text
    return f"2026-11-24T11:20:00.123456789Z {stream} {tag} ".encode() + text + b"\n"


@dataclass
class Fleet:
    """A cluster with its agent, and a job with tasks there, without either running."""

    database: Database
    client: Any
    agent: Any
    cluster_id: int
    job_id: int

    @property
    def job(self) -> str:
        return encode_job_id(self.job_id)

    def attempt(self, number: int = 1, *, index: int = 0, ranks: int = 1) -> str:
        with self.database.transaction() as tx:
            tx.execute(
                """
                insert into attempts (job_id, index, number, cluster_id, queue_id, epoch, placement, desired_version)
                select id, %s, %s, %s, queue_id, 1, %s, 1 from jobs where id = %s
                """,
                (index, number, self.cluster_id, Jsonb([{"group": "main", "ranks": [0, ranks], "node": 1, "amounts": {}}]), self.job_id),
            )
            tx.execute(
                "update jobs set pending = '{}', pending_count = 0, running_count = 1, state = 'running' where id = %s", (self.job_id,)
            )
        return attempt_id(self.job_id, index, number)

    def end(
        self, number: int = 1, *, outcome: str = "succeeded", again: bool = False, started: bool = True, seconds_ago: float = 0
    ) -> None:
        with self.database.transaction() as tx:
            tasks = [{"rank": 0, "state": "ended", **({"started_at": "2026-01-01T00:00:00Z"} if started else {})}]
            tx.execute(
                """
                update attempts set state = 'ended', outcome = %s, tasks = %s, ended_at = now() - make_interval(secs => %s)
                where job_id = %s and number = %s
                """,
                (outcome, Jsonb(tasks), seconds_ago, self.job_id, number),
            )
            if again:
                tx.execute("update jobs set pending = '{[0,1)}', pending_count = 1, running_count = 0 where id = %s", (self.job_id,))
            else:
                tx.execute(
                    "update jobs set running_count = 0, succeeded_count = 1, state = 'succeeded', ended_at = now() where id = %s",
                    (self.job_id,),
                )
            tx.emit(Event("attempt.ended", "home/main/main", f"attempt/{attempt_id(self.job_id, 0, number)}", "test", job_id=self.job_id))

    def bring(self, *chunks: tuple[str, int, int, bytes, bool], agent: Any = None) -> Any:
        header = {"streams": [{"attempt": a, "rank": r, "offset": o, "length": len(data), "ended": e} for a, r, o, data, e in chunks]}
        body = json.dumps(header).encode() + b"\n" + b"".join(chunk[3] for chunk in chunks)
        return (agent or self.agent).post("/v1/agent/logs", content=body, headers={"Content-Type": spec.CONTENT_TYPE})

    def took(self, *chunks: tuple[str, int, int, bytes, bool]) -> Any:
        answer = self.bring(*chunks)
        assert answer.status_code == 200, answer.text
        return answer.json()["ends"]

    def read(self, client: Any = None, **params: Any) -> Any:
        return (client or self.client).get(f"/v1/jobs/{self.job}/logs", params=params)

    def follow(self, **params: Any) -> Watch:
        return Watch(self.client, f"/v1/jobs/{self.job}/logs/follow", **params)


def make_agent(database: Database, client: Any, name: str) -> tuple[int, Any]:
    with database.transaction() as tx:
        site = tx.one("insert into sites (name) values (%s) returning id", (name,))["id"]
        cluster = tx.one("insert into clusters (site_id, name) values (%s, %s) returning id", (site, name))["id"]
        principal = tx.one(
            "insert into principals (kind, name, cluster_id) values ('agent', %s, %s) returning id", (f"agent-{name}", cluster)
        )["id"]
        _, token = tokens.create(tx, principal, "test", ("read", "write"))
    return cluster, client.with_token(token)


@pytest.fixture
def fleet(app_client: Any, database: Database, installation: Any) -> Fleet:
    cluster, agent = make_agent(database, app_client, "alpha")
    with database.transaction() as tx:
        job = tx.one(
            """
            insert into jobs (project_id, queue_id, submitter_id, name, spec, state, priority, element_count, pending, pending_count)
            values (%s, %s, %s, 'noisy', '{"run": "x"}', 'queued', 500, 1, '{[0,1)}', 1) returning id
            """,
            (installation.project_id, installation.queue_id, installation.admin_principal_id),
        )["id"]
    return Fleet(database, app_client, agent, cluster, job)


def test_what_an_agent_brings_can_be_read_from_any_offset(fleet: Fleet) -> None:
    attempt = fleet.attempt()
    data = record("one") + record("two", "stderr") + record("three")
    assert fleet.took((attempt, 0, 0, data, False)) == [{"attempt": attempt, "rank": 0, "size_bytes": len(data), "durable_bytes": 0}]
    answer = fleet.read()
    assert answer.status_code == 200
    assert answer.content == data
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers[spec.NEXT_OFFSET_HEADER] == str(len(data))
    assert answer.headers[spec.ENDED_HEADER] == "false"
    assert fleet.read(offset=len(record("one"))).content == record("two", "stderr") + record("three")
    assert fleet.read(stream="stderr").content == record("two", "stderr")
    assert fleet.read(tail=2).content == record("two", "stderr") + record("three")
    assert fleet.read(tail=1, stream="stderr").content == record("two", "stderr")
    assert fleet.read(limit_bytes=len(record("one")) + 5).content == record("one")
    assert fleet.read(offset=10**6).content == b""


def test_sending_again_changes_nothing_and_a_gap_is_told(fleet: Fleet) -> None:
    attempt = fleet.attempt()
    data = record("one") + record("two")
    for _ in range(2):
        fleet.took((attempt, 0, 0, data, False))
    [end] = fleet.took((attempt, 0, len(data) + 1, record("later"), False))
    assert (end["error"], end["size_bytes"]) == ("gap", len(data))
    [end] = fleet.took((attempt, 0, len(data), b"no record", False))
    assert (end["error"], end["size_bytes"]) == ("malformed", len(data))
    [end] = fleet.took((attempt, 0, len(data), b"", True))
    assert end["durable_bytes"] == end["size_bytes"] == len(data)
    [end] = fleet.took((attempt, 0, 0, data, True))
    assert "error" not in end
    [end] = fleet.took((attempt, 0, len(data), record("after the end"), False))
    assert (end["error"], end["size_bytes"]) == ("ended", len(data))
    assert fleet.read().content == data
    assert fleet.read().headers[spec.ENDED_HEADER] == "true"


def test_many_logs_travel_in_one_request(fleet: Fleet) -> None:
    attempt = fleet.attempt(ranks=3)
    first = record("a")
    ends = fleet.took(
        (attempt, 0, 0, first, False),
        (attempt, 1, 0, record("b"), True),
        (attempt, 0, len(first), record("c"), True),
        (attempt, 2, 0, b"", True),
    )
    assert [end["size_bytes"] for end in ends] == [len(first), len(first), 2 * len(first), 0]
    assert [fleet.read(rank=rank).content for rank in range(3)] == [first + record("c"), record("b"), b""]
    assert fleet.read(rank=2).headers[spec.ENDED_HEADER] == "true"
    assert fleet.read(rank=3).status_code == 404


def test_an_agent_can_say_nothing_about_tasks_of_others(fleet: Fleet) -> None:
    attempt = fleet.attempt()
    _, stranger = make_agent(fleet.database, fleet.client, "beta")
    for chunk in (
        (attempt, 0, 0, record("x"), False),
        ("nonsense", 0, 0, record("x"), False),
        ("k7q2m.0.1", 0, 0, record("x"), True),
        (attempt.replace(".1", ".99999999999"), 0, 0, record("x"), False),
    ):
        answer = fleet.bring(chunk, agent=stranger)
        assert [end["error"] for end in answer.json()["ends"]] == ["unknown_attempt"]
    assert fleet.took((attempt, 1, 0, record("x"), False))[0]["error"] == "unknown_attempt", "there is no second rank"
    assert fleet.read().content == b""
    assert fleet.bring((attempt, 0, 0, record("x"), False), agent=fleet.client).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"{}\n",
        b"[]\n",
        b'{"streams": [{"attempt": "k7q2m.0.1", "rank": -1, "offset": 0, "length": 0, "ended": false}]}\n',
        b'{"streams": [{"attempt": "k7q2m.0.1", "rank": 0, "offset": 0, "length": 5, "ended": false}]}\nabc',
        b'{"streams": [{"attempt": "k7q2m.0.1", "rank": 0, "offset": 0, "length": 1, "ended": false}]}\nabc',
        b'{"streams": [{"attempt": "k7q2m.0.1", "rank": 0, "offset": 99999999999999999999999, "length": 0, "ended": false}]}\n',
        b'{"streams": []}\nabc',
        b"\xff\xfe\n",
    ],
)
def test_a_batch_that_is_none_is_refused(fleet: Fleet, body: bytes) -> None:
    answer = fleet.agent.post("/v1/agent/logs", content=body, headers={"Content-Type": spec.CONTENT_TYPE})
    assert answer.status_code == 422, answer.text


def test_only_those_who_may_read_the_job_read_its_logs(fleet: Fleet, as_principal: Callable[..., Any]) -> None:
    attempt = fleet.attempt()
    fleet.took((attempt, 0, 0, record("secret"), False))
    assert fleet.read(as_principal("ada", "viewer", "home/main/main")).content == record("secret")
    stranger = as_principal("eve")
    assert fleet.read(stranger).status_code == 404
    with Watch(stranger, f"/v1/jobs/{fleet.job}/logs/follow") as watch:
        assert watch.status == 404
    assert fleet.read(fleet.agent).status_code == 403
    assert fleet.read(fleet.client.with_token(None)).status_code == 401


def test_what_is_not_there_is_said_to_be(fleet: Fleet) -> None:
    assert fleet.read().content == b"", "it has not begun"
    assert fleet.read(attempt=1).status_code == 404
    assert fleet.read(index=1).status_code == 404
    fleet.attempt()
    assert fleet.read(attempt=2).status_code == 404
    with fleet.follow(attempt=7) as watch:
        assert watch.status == 404
    with fleet.follow(**{"from": "x"}) as watch:
        assert watch.status == 422


def test_a_follower_sees_output_as_it_comes_and_an_end_when_there_is_one(fleet: Fleet) -> None:
    attempt = fleet.attempt()
    one, two = record("one"), record("two")
    fleet.took((attempt, 0, 0, one, False))
    with fleet.follow() as watch:
        assert watch.next().data == {"index": 0, "attempt": 1, "rank": 0, "offset": 0, "next_offset": len(one), "text": one.decode()}
        fleet.took((attempt, 0, len(one), two, False))
        assert watch.next().data["text"] == two.decode()
        fleet.took((attempt, 0, len(one + two), b"", True))
        message = watch.next()
        assert (message.kind, message.data["size_bytes"]) == ("ended", len(one + two))
        fleet.end()
        message = watch.next()
        assert (message.kind, message.data) == ("end", {"state": "succeeded", "complete": True})
        assert list(watch.messages()) == []


def test_a_follower_waits_for_bytes_that_come_after_the_task_has_ended(fleet: Fleet) -> None:
    attempt = fleet.attempt()
    with fleet.follow() as watch:
        watch.next(lambda message: message.comment == "following")
        fleet.end()
        fleet.took((attempt, 0, 0, record("late"), True))
        assert [message.kind for message in watch.take(3)] == ["log", "ended", "end"]


def test_a_follower_goes_on_where_it_broke_off(fleet: Fleet) -> None:
    attempt = fleet.attempt(ranks=2)
    one, two = record("one"), record("two")
    with fleet.follow() as watch:
        fleet.took((attempt, 0, 0, one, True), (attempt, 1, 0, one, False))
        seen = watch.take(3)
        assert sorted((message.kind, message.data["rank"]) for message in seen) == [("ended", 0), ("log", 0), ("log", 1)]
    fleet.took((attempt, 1, len(one), two, True))
    fleet.end()
    with fleet.follow(resume=seen[-1].resume) as watch:
        rest = watch.take(3)
        assert [(message.kind, message.data.get("text")) for message in rest] == [("log", two.decode()), ("ended", None), ("end", None)]
    with fleet.follow(**{"from": rest[-1].resume}) as watch:
        assert watch.next().kind == "end", "an end can be asked for again"


def test_a_follower_goes_over_to_the_next_attempt(fleet: Fleet) -> None:
    first = fleet.attempt(1)
    with fleet.follow() as watch:
        fleet.took((first, 0, 0, record("first"), True))
        fleet.end(1, outcome="failed", again=True)
        assert [message.kind for message in watch.take(2)] == ["log", "ended"]
        second = fleet.attempt(2)
        fleet.took((second, 0, 0, record("second"), True))
        fleet.end(2)
        messages = watch.take(3)
        assert [message.kind for message in messages] == ["log", "ended", "end"]
        assert messages[0].data["attempt"] == 2
    with fleet.follow(attempt=1) as watch:
        assert [message.kind for message in watch.take(3)] == ["log", "ended", "end"]


def test_a_log_whose_end_never_came_does_not_look_complete(fleet: Fleet) -> None:
    attempt = fleet.attempt()
    fleet.took((attempt, 0, 0, record("partial"), False))
    fleet.end(outcome="lost", seconds_ago=log_follow.CUT_SECONDS + 1)
    with fleet.follow() as watch:
        log, cut, end = watch.take(3)
        assert (log.kind, cut.kind, end.kind) == ("log", "cut", "end")
        assert end.data["complete"] is False


def test_a_task_that_never_began_has_an_empty_log(fleet: Fleet) -> None:
    fleet.attempt()
    fleet.end(outcome="cancelled", started=False, seconds_ago=60)
    with fleet.follow() as watch:
        ended, end = watch.take(2)
        assert (ended.kind, ended.data["size_bytes"]) == ("ended", 0)
        assert end.data["complete"] is True


def test_a_job_that_was_cancelled_before_it_began_ends_its_followers(fleet: Fleet) -> None:
    with fleet.follow() as watch:
        watch.next(lambda message: message.comment == "following")
        with fleet.database.transaction() as tx:
            tx.execute("update jobs set pending = '{}', pending_count = 0, cancelled_count = 1, state = 'cancelled', ended_at = now()")
            tx.emit(Event("job.cancelled", "home/main/main", f"job/{fleet.job}", "test", job_id=fleet.job_id))
        assert watch.next().data == {"state": "cancelled", "complete": True}


def test_of_a_log_that_was_removed_its_length_is_known(fleet: Fleet, settings: Any) -> None:
    text = record("long ago")
    fleet.took((fleet.attempt(), 0, 0, text, True))
    fleet.end(seconds_ago=29 * 86400)
    sweep = Sweep(fleet.database, settings.state_folder)
    assert sweep.step() == 0
    fleet.end(seconds_ago=31 * 86400)
    assert sweep.step() == 1
    assert not list((settings.state_folder / "logs").rglob("*.log"))
    for page in (fleet.read(), fleet.read(offset=len(text)), fleet.read(tail=5)):
        assert (page.content, page.headers[spec.SIZE_HEADER], page.headers[spec.ENDED_HEADER]) == (b"", str(len(text)), "true")
        assert page.headers[spec.DROPPED_HEADER] == f"0-{len(text)}"
    with fleet.follow() as watch:
        log, ended, end = watch.take(3)
    assert (log.kind, log.data["dropped_bytes"], log.data["text"]) == ("log", len(text), "")
    assert (ended.kind, end.kind) == ("ended", "end")


def test_binary_output_reaches_followers_and_pages(fleet: Fleet) -> None:
    attempt = fleet.attempt()
    data = record(bytes(b for b in range(256) if b != 10))
    fleet.took((attempt, 0, 0, data, True))
    assert fleet.read().content == data
    with fleet.follow() as watch:
        assert base64.b64decode(watch.next().data["base64"]) == data


def test_an_array_asks_for_the_index(fleet: Fleet) -> None:
    with fleet.database.transaction() as tx:
        tx.execute("""update jobs set spec = '{"run": "x", "array": "0-9"}' where id = %s""", (fleet.job_id,))
    assert fleet.read().status_code == 422
    assert fleet.read(index=10).status_code == 404
    fleet.took((fleet.attempt(index=3), 0, 0, record("three"), True))
    assert fleet.read(index=3).content == record("three")


def test_followers_of_much_output_get_all_of_it(fleet: Fleet) -> None:
    attempt = fleet.attempt()
    chunk = record("x" * 1000) * 1000
    received: list[int] = []

    def follow() -> None:
        with fleet.follow() as watch:
            for message in watch.messages():
                if message.kind == "log" and message.text:
                    received.append(len(message.data["text"]))
                elif message.kind == "end":
                    return

    threads = [threading.Thread(target=follow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(10):
        fleet.took((attempt, 0, number * len(chunk), chunk, number == 9))
    fleet.end()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert sum(received) == 3 * 10 * len(chunk)


def test_a_full_disk_refuses_output_and_nothing_else(fleet: Fleet, settings: Any) -> None:
    volume = settings.state_folder / "logs"
    volume.mkdir(exist_ok=True)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", volume], check=False).returncode:
        pytest.skip("this machine lets nobody mount a volume")
    try:
        attempt = fleet.attempt()
        first, much = record("first"), record("x" * 1000) * 3000
        fleet.took((attempt, 0, 0, first, False))
        answer = fleet.bring((attempt, 0, len(first), much, False))
        assert answer.status_code == 503
        assert answer.json()["code"] == "disk_full"
        assert fleet.read().content.startswith(first)
        assert fleet.client.get("/v1/events").status_code == 200
        subprocess.run(["mount", "-o", "remount,size=16m", volume], check=True)
        [end] = fleet.took((attempt, 0, len(first), much, True))
        assert end["size_bytes"] == len(first + much)
        assert fleet.read(limit_bytes=8 * 1024 * 1024).content == first + much
    finally:
        subprocess.run(["umount", volume], check=True)
