"""Submission: all of a request or none, and what documents name must be there."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from bushel.control.bootstrap import Bootstrapped, bootstrap
from bushel.control.submit import dry_run, submit
from bushel.domain.errors import Forbidden, InvalidDocument, NotFound, QuotaExceeded
from bushel.domain.ids import encode_job_id
from bushel.domain.permissions import Role
from bushel.domain.principal import Principal
from bushel.spec.canonical import canonical_batch
from bushel.store.database import Database

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def installed(database: Database) -> Bootstrapped:
    with database.transaction() as tx:
        return bootstrap(tx)


@pytest.fixture
def admin(installed: Bootstrapped) -> Principal:
    return Principal(installed.admin_principal_id, "admin", "user", bindings={"home": Role.ADMIN}, request_id="test")


def put(database: Database, principal: Principal, *documents: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    with database.transaction() as tx:
        return submit(tx, principal, canonical_batch([{"run": "true", **document} for document in documents]), **options)


def pointers(error: pytest.ExceptionInfo[InvalidDocument]) -> dict[str, str]:
    return {problem.pointer: problem.message for problem in error.value.problems}


def end(database: Database, job: dict[str, Any], state: str) -> None:
    with database.transaction() as tx:
        tx.execute(
            f"update jobs set state = %s, ended_at = now(), pending = '{{}}', pending_count = 0, {state}_count = 1 where id = %s",
            (state, job["id"]),
        )


def test_a_job_its_event_and_its_audit_row_are_one(database: Database, admin: Principal) -> None:
    (job,) = put(database, admin, {"name": "one", "labels": {"team": "x"}})
    with database.transaction() as tx:
        events = tx.all("select kind, object, scope_path, body from events where job_id = %s", (job["id"],))
        audits = tx.all("select action, detail from audit where action = 'job:submit'")
        labels = tx.all("select label from job_labels where job_id = %s", (job["id"],))
    assert [(event["kind"], event["object"]) for event in events] == [("job.submitted", f"job/{encode_job_id(job['id'])}")]
    assert events[0]["scope_path"] == "home/main/main"
    assert events[0]["body"]["state"] == "queued"
    assert audits[0]["detail"]["count"] == 1
    assert labels == [{"label": "team=x"}]


def test_an_array_of_a_million_is_one_row(database: Database, admin: Principal) -> None:
    (job,) = put(database, admin, {"array": "0-999999%500"})
    with database.transaction() as tx:
        row = tx.one("select element_count, pending::text as pending, pending_count from jobs where id = %s", (job["id"],))
    assert row == {"element_count": 1_000_000, "pending": "{[0,1000000)}", "pending_count": 1_000_000}


def test_what_a_document_names_must_be_there_and_nothing_is_submitted_otherwise(database: Database, admin: Principal) -> None:
    with pytest.raises(InvalidDocument) as error:
        put(
            database,
            admin,
            {},
            {"queue": "nowhere"},
            {"secrets": ["A", "B"]},
            {"workdir": "."},
            {"workdir": DIGEST},
        )
    assert set(pointers(error)) == {"/jobs/1/queue", "/jobs/2/secrets/0", "/jobs/2/secrets/1", "/jobs/3/workdir", "/jobs/4/workdir"}
    with pytest.raises(InvalidDocument) as error:
        put(database, admin, {"after": ["nobody"]}, {})
    assert set(pointers(error)) == {"/jobs/0/after/0"}
    with database.transaction() as tx:
        assert tx.one("select count(*) as count from jobs")["count"] == 0


def test_secrets_of_the_project_and_above_and_uploaded_folders_are_found(
    database: Database, admin: Principal, installed: Bootstrapped
) -> None:
    with database.transaction() as tx:
        tx.execute(
            """insert into secrets (scope_id, name, nonce, ciphertext, key_id, changed_by)
               select id, upper(name), '', '', '', %s from scopes where path in ('home', 'home/main')""",
            (admin.id,),
        )
        tx.execute("insert into blobs values (%s, %s, 1, %s)", (installed.project_id, DIGEST, admin.id))
    assert put(database, admin, {"secrets": ["HOME", "MAIN"], "workdir": DIGEST})


def test_jobs_of_one_request_may_wait_for_each_other_in_any_order(database: Database, admin: Principal) -> None:
    last, first = put(database, admin, {"name": "last", "after": ["first"]}, {"name": "first"})
    assert (last["state"], last["reason"], last["unmet"]) == ("held", "dependency", 1)
    assert first["state"] == "queued"
    with database.transaction() as tx:
        assert tx.all("select job_id, on_job_id, condition, met_at from dependencies") == [
            {"job_id": last["id"], "on_job_id": first["id"], "condition": "success", "met_at": None}
        ]


@pytest.mark.parametrize("documents", [[("a", "b"), ("b", "a")], [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]])
def test_a_circle_is_refused(database: Database, admin: Principal, documents: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidDocument) as error:
        put(database, admin, *({"name": name, "after": [parent]} for name, parent in documents))
    assert pointers(error) == {"/jobs/0/after": "these jobs wait for each other in a circle"}


def test_a_name_that_two_jobs_of_the_request_have_is_ambiguous(database: Database, admin: Principal) -> None:
    with pytest.raises(InvalidDocument) as error:
        put(database, admin, {"name": "a"}, {"name": "a"}, {"name": "b", "after": "a"})
    assert list(pointers(error)) == ["/jobs/2/after/0"]


def test_parents_are_found_by_id_and_the_newest_by_name(database: Database, admin: Principal) -> None:
    old, new = put(database, admin, {"name": "prepare"})[0], put(database, admin, {"name": "prepare"})[0]
    by_name, by_id = put(database, admin, {"after": ["prepare"]}, {"after": [encode_job_id(old["id"])]})
    (again,) = put(database, admin, {"name": "prepare", "after": "prepare"})
    with database.transaction() as tx:
        parents = {row["job_id"]: row["on_job_id"] for row in tx.all("select job_id, on_job_id from dependencies")}
    assert parents == {by_name["id"]: new["id"], by_id["id"]: old["id"], again["id"]: new["id"]}


@pytest.mark.parametrize(
    ("ended_as", "condition", "expected"),
    [
        ("succeeded", "success", "queued"),
        ("succeeded", "failure", "cancelled"),
        ("succeeded", "end", "queued"),
        ("failed", "success", "cancelled"),
        ("failed", "failure", "queued"),
        ("cancelled", "success", "cancelled"),
        ("cancelled", "end", "queued"),
    ],
)
def test_a_parent_that_has_ended_decides_at_once(
    database: Database, admin: Principal, ended_as: str, condition: str, expected: str
) -> None:
    (parent,) = put(database, admin, {"name": "parent"})
    end(database, parent, ended_as)
    (child,) = put(database, admin, {"after": [{"job": "parent", "on": condition}]})
    assert child["state"] == expected
    if expected == "cancelled":
        assert child["reason"] == "dependency_failed"
        with database.transaction() as tx:
            kinds = [row["kind"] for row in tx.all("select kind from events where job_id = %s order by id", (child["id"],))]
            row = tx.one("select pending_count, cancelled_count, ended_at from jobs where id = %s", (child["id"],))
        assert kinds == ["job.submitted", "job.cancelled"]
        assert (row["pending_count"], row["cancelled_count"]) == (0, 1)
        assert row["ended_at"] is not None


def test_a_chain_behind_a_failed_parent_is_settled_in_one_request(database: Database, admin: Principal) -> None:
    (parent,) = put(database, admin, {"name": "parent"})
    end(database, parent, "failed")
    rows = put(
        database,
        admin,
        {"name": "third", "after": ["second"]},
        {"name": "second", "after": ["parent"]},
        {"name": "cleanup", "after": [{"job": "second", "on": "end"}]},
    )
    assert [row["state"] for row in rows] == ["cancelled", "cancelled", "queued"]


def test_the_parent_cannot_end_unnoticed_while_a_child_is_submitted(database: Database, admin: Principal) -> None:
    (parent,) = put(database, admin, {"name": "parent"})
    with database.transaction() as tx:
        submit(tx, admin, canonical_batch([{"run": "true", "after": ["parent"]}]))
        tx.flush()
        ended = threading.Event()

        def finish() -> None:
            end(database, parent, "succeeded")
            ended.set()

        thread = threading.Thread(target=finish)
        thread.start()
        assert not ended.wait(0.3), "the parent's row is not locked"
    thread.join(10)
    assert ended.is_set(), "the parent did not end within 10 s of the commit"


def test_a_job_quota_holds_against_many_at_once_and_above(database: Database, admin: Principal) -> None:
    with database.transaction() as tx:
        above = tx.one("insert into queues (scope_id, name, job_quota) select id, 'all', 5 from scopes where path = 'home' returning id")[
            "id"
        ]
        tx.execute("update queues set parent_id = %s where name = 'main'", (above,))
    refused: list[QuotaExceeded] = []

    def one() -> None:
        try:
            put(database, admin, {})
        except QuotaExceeded as error:
            refused.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 3
    assert "of at most 5" in refused[0].message
    with database.transaction() as tx:
        assert tx.one("select count(*) as count from jobs")["count"] == 5
    with pytest.raises(QuotaExceeded):
        put(database, admin, {})


def test_who_may_submit_where(database: Database, admin: Principal) -> None:
    viewer = replace(admin, bindings={"home": Role.VIEWER})
    member = replace(admin, bindings={"home/main": Role.MEMBER})
    stranger = replace(admin, bindings={})
    assert put(database, member, {"priority": 500})
    with pytest.raises(Forbidden):
        put(database, member, {"priority": 501})
    with pytest.raises(Forbidden):
        put(database, viewer, {}, project="home/main/main")
    with pytest.raises(NotFound):
        put(database, stranger, {}, project="home/main/main")
    with pytest.raises(NotFound):
        put(database, admin, {"project": "home/main/none"})
    with pytest.raises(Forbidden):
        put(database, replace(admin, token_scopes=("read",)), {"project": "home/main/main"})


def test_with_several_projects_one_must_be_named(database: Database, admin: Principal, installed: Bootstrapped) -> None:
    with database.transaction() as tx:
        tx.execute(
            """insert into scopes (kind, parent_id, name, path)
               select 'project', id, 'other', 'home/main/other' from scopes where path = 'home/main'"""
        )
    with pytest.raises(InvalidDocument) as error:
        put(database, admin, {})
    assert "home/main/other" in pointers(error)["/project"]
    first, second = put(database, admin, {}, {"project": "home/main/other"}, project="home/main/main")
    assert (first["project"], second["project"]) == ("home/main/main", "home/main/other")
    assert second["queue"] == "main", "a project without a queue of its own uses its team's"


def test_a_queue_of_another_team_is_not_there(database: Database, admin: Principal) -> None:
    with database.transaction() as tx:
        team = tx.one(
            "insert into scopes (kind, parent_id, name, path) select 'team', id, 't', 'home/t' from scopes where path = 'home' returning id"
        )
        tx.execute("insert into queues (scope_id, name) values (%s, 'theirs')", (team["id"],))
    with pytest.raises(InvalidDocument) as error:
        put(database, admin, {"queue": "theirs"})
    assert list(pointers(error)) == ["/jobs/0/queue"]


def test_a_dry_run_leaves_nothing(database: Database, admin: Principal) -> None:
    documents = canonical_batch([{"run": "true", "labels": {"a": "b"}}])
    (row,) = dry_run(database, admin, documents)
    assert row["id"] is None
    assert row["state"] == "queued"
    with database.transaction() as tx:
        for table in ("jobs", "job_labels", "audit where action = 'job:submit'", "events where job_id is not null"):
            assert tx.one(f"select count(*) as count from {table}")["count"] == 0, table


def test_places_that_are_not_there_are_refused_with_what_was_meant(database: Database, admin: Principal) -> None:
    with database.transaction() as tx:
        site = tx.one("insert into sites (name) values ('local') returning id")["id"]
        tx.execute("insert into clusters (site_id, name) values (%s, 'east-1'), (%s, 'west-1')", (site, site))
        tx.execute("insert into clusters (site_id, name, removed_at) values (%s, 'east-2', now())", (site,))
    put(database, admin, {"placement": {"sites": ["local"], "clusters": ["east-1", "west-1"]}})
    with pytest.raises(InvalidDocument) as error:
        put(
            database,
            admin,
            {},
            {"placement": {"sites": ["local", "nope"]}},
            {"placement": {"clusters": ["east-2", "west-1", "elsewhere"]}},
        )
    assert pointers(error) == {
        "/jobs/1/placement/sites/1": "there is no site `nope`. Did you mean `local`?",
        "/jobs/2/placement/clusters/0": "there is no cluster `east-2`. Did you mean `east-1`?",
        "/jobs/2/placement/clusters/2": "there is no cluster `elsewhere`",
    }
    assert {problem.suggestion for problem in error.value.problems} == {"local", "east-1", "bushel cluster ls"}


def test_a_large_request_with_places_asks_once(database: Database, admin: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [{"placement": {"sites": [f"s{number % 1000}"]}} for number in range(2000)]
    with database.transaction() as tx:
        tx.execute("insert into sites (name) select 's' || n from generate_series(0, 999) n")
    with database.transaction() as tx:
        asked: list[Any] = []
        query = tx.all
        monkeypatch.setattr(tx, "all", lambda text, *rest: asked.append(text) or query(text, *rest))
        submit(tx, admin, canonical_batch([{"run": "true", **document} for document in many]))
        assert len([text for text in asked if "from sites" in text]) == 1
    with pytest.raises(InvalidDocument) as error:
        put(database, admin, *({"placement": {"sites": [f"t{number}"]}} for number in range(2000)))
    assert len(error.value.problems) == 100
