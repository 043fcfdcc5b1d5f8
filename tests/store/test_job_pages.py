"""Pages of jobs: whatever the filters, every job that they select once, newest first, and nothing else."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bushel.control.bootstrap import bootstrap
from bushel.store import job_pages
from bushel.store.database import Database, Transaction
from bushel.store.job_pages import JobFilter, job_page

BEGAN = datetime(2030, 1, 1, tzinfo=UTC)
STATES = ("queued", "running", "succeeded", "failed")
NAMES = ("train", "train-2", "test", "prepare")
LABELS = ("team=a", "team=b", "rare=yes")
PROJECTS = 4


def fill(tx: Transaction, count: int) -> list[dict[str, Any]]:
    made = bootstrap(tx)
    tx.execute(
        "insert into scopes (kind, parent_id, name, path) select 'project', parent_id, 'p' || g, 'home/main/p' || g "
        "from scopes, generate_series(2, %s) g where id = %s",
        (PROJECTS, made.project_id),
    )
    projects = [row["id"] for row in tx.all("select id from scopes where kind = 'project' order by id")]
    dice = random.Random(7)
    rows = []
    for number in range(count):
        row = {
            "project": dice.choice(projects),
            "name": dice.choice(NAMES),
            "state": dice.choice(STATES),
            "labels": [label for label in LABELS if dice.random() < (0.01 if label == "rare=yes" else 0.5)][:2],
            "at": BEGAN + timedelta(minutes=number),
        }
        row["id"] = tx.one(
            """insert into jobs (project_id, queue_id, submitter_id, name, labels, spec, state, priority, element_count, pending,
                                 pending_count, submitted_at)
               values (%s, %s, %s, %s, (select coalesce(jsonb_object_agg(split_part(l, '=', 1), split_part(l, '=', 2)), '{}')
                                        from unnest(%s::text[]) l), '{}', %s, 500, 1, '{}', 1, %s) returning id""",
            (row["project"], made.queue_id, made.admin_principal_id, row["name"], _last(row["labels"]), row["state"], row["at"]),
        )["id"]
        for label in _last(row["labels"]):
            tx.execute("insert into job_labels values (%s, %s, %s)", (row["project"], label, row["id"]))
        rows.append({**row, "labels": _last(row["labels"])})
    return rows


def _last(labels: list[str]) -> list[str]:
    """One value for each key, as in a document."""
    return list({label.partition("=")[0]: label for label in labels}.values())


def selected(row: dict[str, Any], wanted: JobFilter) -> bool:
    name = wanted.name or "*"
    return (
        (wanted.project_ids is None or row["project"] in wanted.project_ids)
        and (not wanted.states or row["state"] in wanted.states)
        and (row["name"].startswith(name[:-1]) if name.endswith("*") else row["name"] == name)
        and set(wanted.labels) <= set(row["labels"])
        and (wanted.since is None or row["at"] >= wanted.since)
        and (wanted.before is None or row["at"] < wanted.before)
        and wanted.submitter_id in (None, 1)
        and wanted.queue_id in (None, 1)
    )


def some_filter(dice: random.Random, projects: list[int]) -> JobFilter:
    return JobFilter(
        project_ids=dice.choice([None, tuple(projects), tuple(dice.sample(projects, 2)), ()]),
        states=tuple(dice.sample(STATES, dice.choice([0, 0, 1, 2]))),
        queue_id=dice.choice([None, None, 1, 0]),
        submitter_id=dice.choice([None, None, 1, 0]),
        name=dice.choice([None, None, "train", "train*", "t*", "nothing"]),
        labels=tuple(dice.sample(LABELS, dice.choice([0, 0, 1, 2]))),
        since=dice.choice([None, None, BEGAN + timedelta(minutes=100)]),
        before=dice.choice([None, None, BEGAN + timedelta(minutes=250)]),
    )


@pytest.mark.parametrize("few_rows", [2000, 0], ids=["few rows looked at at once", "all by windows"])
def test_pages_are_what_the_filters_select(database: Database, monkeypatch: pytest.MonkeyPatch, few_rows: int) -> None:
    monkeypatch.setattr(job_pages, "_FEW_ROWS", few_rows)
    monkeypatch.setattr(job_pages, "_FIRST_WINDOW", 20)
    dice = random.Random(few_rows)
    with database.transaction() as tx:
        rows = fill(tx, 300)
        projects = sorted({row["project"] for row in rows})
        for _ in range(250):
            wanted = some_filter(dice, projects)
            found: list[int] = []
            before_id = None
            while True:
                page = job_page(tx, wanted, before_id=before_id, limit=37)
                assert len(page.rows) <= 37
                found += [row["id"] for row in page.rows]
                before_id = page.next_before
                if before_id is None:
                    break
            assert found == [row["id"] for row in reversed(rows) if selected(row, wanted)], wanted


def test_a_search_that_takes_long_ends_its_page_and_goes_on_from_there(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_pages, "SEARCH_SECONDS", 0.0)
    monkeypatch.setattr(job_pages, "_FEW_ROWS", 0)
    monkeypatch.setattr(job_pages, "_FIRST_WINDOW", 50)
    with database.transaction() as tx:
        rows = fill(tx, 300)
        wanted = JobFilter(submitter_id=1, states=("failed",))
        first = job_page(tx, wanted, before_id=None, limit=100)
        assert first.next_before is not None
        assert len(first.rows) < 50
        assert first.next_before == rows[-1]["id"] + 1 - 50


@pytest.mark.parametrize("wanted", [JobFilter(), JobFilter(submitter_id=1, states=("failed", "queued")), JobFilter(name="train*")])
def test_a_total_that_is_small_is_exact_and_a_large_one_is_never_less_than_what_was_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch, wanted: JobFilter
) -> None:
    with database.transaction() as tx:
        count = sum(selected(row, wanted) for row in fill(tx, 120))
        assert job_page(tx, wanted, before_id=None, limit=7).estimated_total == count
        monkeypatch.setattr(job_pages, "MOST_COUNTED", 20)
        assert (job_page(tx, wanted, before_id=None, limit=7).estimated_total or 0) > 20
