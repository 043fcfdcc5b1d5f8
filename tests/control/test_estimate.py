"""When a job is likely to start, on real PostgreSQL: docs/guides/estimate.md"""

from __future__ import annotations

from typing import Any

import pytest

from bushel.control.estimate import estimate, estimate_document
from bushel.control.job_history import learn
from bushel.domain.errors import InvalidDocument, NotFound
from bushel.domain.ids import encode_job_id
from bushel.domain.principal import Principal
from bushel.spec.canonical import canonical
from bushel.store.database import Database
from tests.control.farm import make_farm, rows, run_dry, scheduler, submit_job
from tests.control.lifecycle_world import World


@pytest.fixture
def farm(database: Database) -> World:
    return make_farm(database)


def asked(farm: World, job_id: int) -> Any:
    return estimate(farm.database, farm.principal, encode_job_id(job_id))


def document(**fields: Any) -> dict[str, Any]:
    return canonical({"run": "true", "resources": {"cpu": 1, "memory": "1GiB"}} | fields)


def full(farm: World) -> None:
    submit_job(farm, 4, resources={"cpu": 4, "memory": "1GiB"}, expected_duration="20m")
    run_dry(scheduler(farm).step)


def past(farm: World, count: int) -> None:
    """Jobs that waited five to fifteen minutes, one after the other, and ran for five."""
    jobs = submit_job(farm, count, resources={"cpu": 4, "memory": "1GiB"}, name="past")
    with farm.database.transaction() as tx:
        for number, job_id in enumerate(jobs):
            tx.execute(
                "update jobs set state = 'succeeded', pending = '{}', pending_count = 0, succeeded_count = 1,"
                " submitted_at = now() - make_interval(mins => %s), started_at = now() - make_interval(mins => %s),"
                " ended_at = now() - make_interval(mins => %s) where id = %s",
                (6 * (count - number) + 15 + number * 7 % 11, 6 * (count - number) + 10, 6 * (count - number) + 5, job_id),
            )


def test_a_job_that_has_room_starts_with_the_next_plan(farm: World) -> None:
    (job_id,) = submit_job(farm)
    found = asked(farm, job_id)
    assert (found["starts_now"], found["sentence"]) == (True, "it starts with the next plan")


def test_without_a_past_it_is_called_a_wide_guess(farm: World) -> None:
    full(farm)
    (job_id,) = submit_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    found = asked(farm, job_id)
    start = found["start"]
    assert start["low_seconds"] <= start["median_seconds"] <= start["high_seconds"]
    assert start["high_seconds"] > 0
    assert found["basis"].startswith("a wide guess: the past has only 0 ended jobs")


def test_with_a_past_the_interval_rests_on_its_waits(farm: World) -> None:
    past(farm, 60)
    learnt = learn(farm.database)
    assert learnt.ended == 60
    assert sum(learnt.tried.values()) == 60
    assert learnt.hits >= 20, "from the thirtieth wait on the interval is that of the waits before"
    full(farm)
    (job_id,) = submit_job(farm, resources={"cpu": 4, "memory": "1GiB"})
    found = asked(farm, job_id)
    assert found["basis"] == "from 60 ended jobs and 60 waits of the past"
    assert found["start"]["low_seconds"] < found["start"]["high_seconds"]
    assert "four of five such starts" in found["sentence"]


def test_what_can_never_start_says_so(farm: World) -> None:
    (large,) = submit_job(farm, resources={"cpu": 64, "memory": "1GiB"})
    assert asked(farm, large)["sentence"].startswith("it never starts while the fleet is as it is")
    (gang,) = submit_job(farm, nodes=9, resources={"cpu": 4, "memory": "1GiB"})
    assert asked(farm, gang)["sentence"].endswith("it is larger than all of it")


def test_a_held_job_and_one_that_has_ended_get_no_estimate(farm: World) -> None:
    (held,) = submit_job(farm, hold=True)
    assert asked(farm, held)["sentence"].startswith("it is held")
    farm.cancel(held)
    assert asked(farm, held)["start"] is None


def test_a_document_is_estimated_and_not_submitted(farm: World) -> None:
    found = estimate_document(farm.database, farm.principal, document(), "home/main/main")
    assert (found["job"], found["starts_now"]) == (None, True)
    full(farm)
    before = rows(farm, "select count(*) as jobs from jobs")
    found = estimate_document(farm.database, farm.principal, document(resources={"cpu": 4, "memory": "1GiB"}), "home/main/main")
    assert found["start"] is not None
    assert rows(farm, "select count(*) as jobs from jobs") == before
    with pytest.raises(InvalidDocument):
        estimate_document(farm.database, farm.principal, document(queue="nowhere"), "home/main/main")


def test_who_may_not_see_the_job_learns_nothing(farm: World) -> None:
    (job_id,) = submit_job(farm)
    with pytest.raises(NotFound):
        estimate(farm.database, Principal(99, "nobody", "user"), encode_job_id(job_id))
