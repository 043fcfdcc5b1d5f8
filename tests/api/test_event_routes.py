"""Events over HTTP: in order, once each, to those who may read them, resumable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from bushel.api import streams
from bushel.store.database import Database, Event
from bushel.store.events import Position
from tests.api.conftest import Client, serve
from tests.api.watching import Watch


def write(database: Database, *kinds: str, path: str = "home", body: dict[str, Any] | None = None) -> None:
    with database.transaction() as tx:
        tx.emit(*(Event(kind, path, "thing/1", "test", body or {}) for kind in kinds))


def kinds(client: Any, **params: Any) -> list[str]:
    answer = client.get("/v1/events", params=params)
    assert answer.status_code == 200, answer.text
    return [event["kind"] for event in answer.json()["items"]]


def test_pages_go_through_all_events_once(app_client: Any, database: Database) -> None:
    write(database, *[f"test.number-{chr(97 + n)}" for n in range(7)])
    seen: list[str] = []
    page: dict[str, Any] = {"kind": "test.", "limit": 3}
    while True:
        answer = app_client.get("/v1/events", params=page).json()
        seen += [event["kind"] for event in answer["items"]]
        if answer["next_page"] is None:
            break
        page["page"] = answer["next_page"]
    assert seen == [f"test.number-{chr(97 + n)}" for n in range(7)]
    assert kinds(app_client, kind="test.", newest_first=True, limit=2) == ["test.number-g", "test.number-f"]
    assert kinds(app_client, after=answer["position"]) == []
    write(database, "test.later")
    assert kinds(app_client, after=answer["position"]) == ["test.later"]


def test_a_watch_begins_now_and_misses_nothing(app_client: Any, database: Database) -> None:
    write(database, "test.before")
    with Watch(app_client, "/v1/events/watch", kind="test.") as watch:
        watch.next(lambda message: message.comment == "watching")
        for number in range(5):
            write(database, "test.event", body={"number": number})
        assert [message.data["body"]["number"] for message in watch.take(5)] == list(range(5))


def test_a_watch_goes_on_where_it_broke_off(app_client: Any, database: Database) -> None:
    with Watch(app_client, "/v1/events/watch", kind="test.") as watch:
        watch.next(lambda message: message.comment == "watching")
        write(database, "test.one", "test.two")
        first = watch.next()
    assert first.data["kind"] == "test.one"
    write(database, "test.three")
    with Watch(app_client, "/v1/events/watch", kind="test.", resume=first.resume) as watch:
        assert [message.data["kind"] for message in watch.take(2)] == ["test.two", "test.three"]


def test_a_watch_from_the_position_of_a_list_sees_what_the_list_missed(app_client: Any, database: Database) -> None:
    """Also what belonged to a transaction that was open while the list was made."""
    with database.transaction() as slow:
        slow.emit(Event("test.slow", "home", "thing/1", "test"))
        slow.flush()
        write(database, "test.fast")
        listed = app_client.get("/v1/events", params={"kind": "test."}).json()
        assert listed["items"] == []
    with Watch(app_client, "/v1/events/watch", kind="test.", after=listed["position"]) as watch:
        assert [message.data["kind"] for message in watch.take(2)] == ["test.slow", "test.fast"]


def test_an_event_behind_a_slow_transaction_reaches_watchers_when_that_ends(app_client: Any, database: Database) -> None:
    with Watch(app_client, "/v1/events/watch", kind="test.") as watch:
        watch.next(lambda message: message.comment == "watching")
        with database.transaction() as slow:
            slow.one("select pg_current_xact_id()::text as xid")
            write(database, "test.fast")
            slow.emit(Event("test.slow", "home", "thing/1", "test"))
        assert [message.data["kind"] for message in watch.take(2)] == ["test.slow", "test.fast"]


def test_what_retention_dropped_is_gone_with_the_advice_to_list_again(app_client: Any, database: Database) -> None:
    write(database, "test.one")
    position = app_client.get("/v1/events").json()["items"][-1]["position"]
    with database.transaction() as tx:
        tx.execute("update event_horizon set written_by = %s::text::xid8, id = 0", (str(Position.parse(position).xid + 1),))
    with Watch(app_client, "/v1/events/watch", resume=position) as watch:
        assert watch.status == 410
        problem = watch.problem()
        assert problem["code"] == "gone"
        assert "list" in problem["suggestion"]
    assert app_client.get("/v1/events", params={"after": position}).status_code == 410
    assert app_client.get("/v1/events").status_code == 200


@pytest.mark.parametrize("position", ["x", "1", "1-", "-1", "1-2-3", "99999999999999999999-1", "%00"])
def test_a_position_that_was_never_given_is_refused(app_client: Any, position: str) -> None:
    assert app_client.get("/v1/events", params={"after": position}).status_code == 422
    with Watch(app_client, "/v1/events/watch", after=position) as watch:
        assert watch.status == 422


def test_everybody_sees_the_events_of_their_own_places_only(app_client: Any, database: Database, as_principal: Callable[..., Any]) -> None:
    with database.transaction() as tx:
        tx.execute(
            "insert into scopes (kind, parent_id, name, path) select 'team', id, 'other', 'home/other' from scopes where path = 'home'"
        )
    viewer = as_principal("ada", "viewer", "home/main")
    stranger = as_principal("eve")
    with Watch(viewer, "/v1/events/watch", kind="test.") as watch, Watch(stranger, "/v1/events/watch") as refused:
        assert refused.status == 403
        watch.next(lambda message: message.comment == "watching")
        write(database, "test.org", path="home")
        write(database, "test.other", path="home/other")
        write(database, "test.namesake", path="home/main-2")
        write(database, "test.team", path="home/main")
        write(database, "test.project", path="home/main/main")
        assert [message.data["kind"] for message in watch.take(2)] == ["test.team", "test.project"]
    assert kinds(viewer, kind="test.") == ["test.team", "test.project"]
    assert kinds(viewer, kind="test.", scope="home") == ["test.team", "test.project"], "a wider scope shows the part that is theirs"
    assert viewer.get("/v1/events", params={"scope": "home/other"}).status_code == 404
    assert stranger.get("/v1/events").status_code == 403
    assert app_client.with_token(None).get("/v1/events").status_code == 401


@pytest.mark.parametrize(
    "revocation",
    ["update tokens set revoked_at = now() where principal_id = %s", "delete from role_bindings where principal_id = %s",
     "update principals set disabled_at = now() where id = %s"],
)  # fmt: skip
def test_a_stream_ends_within_seconds_when_its_right_is_taken_away(
    app_client: Any, database: Database, as_principal: Callable[..., Any], revocation: str
) -> None:
    viewer = as_principal("ada", "viewer", "home")
    with Watch(viewer, "/v1/events/watch", kind="test.") as watch:
        watch.next(lambda message: message.comment == "watching")
        with database.transaction() as tx:
            tx.execute(revocation, (tx.one("select id from principals where name = 'ada'")["id"],))
        assert watch.next().kind == "refused"
        assert list(watch.messages()) == []


def test_a_slow_watcher_holds_nobody_up_and_loses_nothing(app_client: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_KEPT_EVENTS", 10)
    count, padding = 400, "x" * 10_000
    with Watch(app_client, "/v1/events/watch", kind="test.") as slow, Watch(app_client, "/v1/events/watch", kind="test.") as quick:
        for watch in (slow, quick):
            watch.next(lambda message: message.comment == "watching")
        for number in range(count):
            write(database, "test.event", body={"number": number, "padding": padding})
        for watch in (quick, slow):
            assert [message.data["body"]["number"] for message in watch.take(count)] == list(range(count))


def test_an_event_reaches_a_watcher_at_once(app_client: Any, database: Database) -> None:
    """A median of tens of milliseconds on a busy machine; a poll would take five hundred."""
    delays = []
    with Watch(app_client, "/v1/events/watch", kind="test.") as watch:
        watch.next(lambda message: message.comment == "watching")
        for _ in range(20):
            started = time.monotonic()
            write(database, "test.event")
            watch.next()
            delays.append(time.monotonic() - started)
    assert sorted(delays)[10] < 0.1, delays


def test_a_watch_survives_the_loss_of_every_connection_to_the_database(app_client: Any, database: Database) -> None:
    with Watch(app_client, "/v1/events/watch", kind="test.") as watch:
        watch.next(lambda message: message.comment == "watching")
        write(database, "test.before")
        assert watch.next().data["kind"] == "test.before"
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            )
            connection.execute("insert into events (kind, scope_path, object, actor) values ('test.after', 'home', 'x/y', 'test')")
        assert watch.next().data["kind"] == "test.after"


def test_streams_end_at_once_when_the_server_stops(database: Database, settings: Any, installation: Any) -> None:
    running = serve(database, settings)
    host, port, app = next(running)
    with Watch(Client(host, port, installation.token), "/v1/events/watch") as watch:
        watch.next(lambda message: message.comment == "watching")
        rest: list[Any] = []
        reader = threading.Thread(target=lambda: rest.extend(watch.messages()))
        reader.start()
        started = time.monotonic()
        app.state.hub.on_loop(app.state.stopping.set)
        reader.join(5)
        assert not reader.is_alive()
        assert time.monotonic() - started < 2
    assert next(running, None) is None


def test_a_watcher_that_leaves_is_forgotten(database: Database, settings: Any, installation: Any) -> None:
    running = serve(database, settings)
    host, port, app = next(running)
    with Watch(Client(host, port, installation.token), "/v1/events/watch") as watch:
        watch.next(lambda message: message.comment == "watching")
        assert app.state.hub.wanted()
    deadline = time.monotonic() + 5
    while app.state.hub.wanted():
        assert time.monotonic() < deadline, "the server still keeps events for a watcher that left 5 s ago"
        time.sleep(0.01)
    assert next(running, None) is None
