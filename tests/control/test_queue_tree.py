"""Who borrows from whom: docs/guides/queues.md#who-borrows-from-whom"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.control.queue_tree import loans_of, queue_tree
from bushel.domain.principal import Principal
from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand, FairShares, Shares
from bushel.store.database import Database
from tests.control.farm import make_farm, run_dry, scheduler, submit_job
from tests.control.lifecycle_world import World

CAPACITY = {"cpu": 12_000}


@st.composite
def shares(draw: st.DrawFn) -> Shares:
    """Two levels of queues with guarantees that may be kept, and what each uses."""
    queues: list[Queue] = []
    used: dict[int, dict[str, int]] = {}
    left, free = CAPACITY["cpu"], CAPACITY["cpu"]
    for team in range(1, draw(st.integers(1, 4)) + 1):
        guarantee = draw(st.integers(0, left))
        left -= guarantee
        queues.append(Queue(team, f"t{team}", guarantee={"cpu": guarantee}))
        inner = guarantee
        for child in range(draw(st.integers(0, 3))):
            queue_id, part = team * 10 + child, draw(st.integers(0, inner))
            inner -= part
            held = draw(st.integers(0, free))
            free -= held
            queues.append(Queue(queue_id, f"q{queue_id}", team, guarantee={"cpu": part}))
            used[queue_id] = {"cpu": held}
    demands = [Demand(queue_id, ({"cpu": 1},), held["cpu"]) for queue_id, held in used.items() if held["cpu"]]
    return FairShares().update(queues, CAPACITY, demands, used)


@given(shares())
def test_the_loans_of_a_queue_add_up_to_what_it_borrows(made: Shares) -> None:
    for queue_id, row in made.rows.items():
        loans = loans_of(made, queue_id, "cpu")
        assert sum(amount for _, _, amount in loans) == made.borrowed[row, made.columns["cpu"]]
        assert all(amount > 0 for _, _, amount in loans)


@given(shares())
def test_no_queue_is_said_to_lend_more_than_it_lends(made: Shares) -> None:
    given_away: dict[int, int] = {}
    for queue_id in made.rows:
        for source, lender, amount in loans_of(made, queue_id, "cpu"):
            if source == "queue" and lender is not None:
                given_away[lender] = given_away.get(lender, 0) + amount
    for lender, amount in given_away.items():
        assert amount <= made.lent[made.rows[lender], made.columns["cpu"]]


@pytest.fixture
def farm(database: Database) -> World:
    return make_farm(database)


def test_it_tells_what_a_queue_is_entitled_to_uses_and_has_waiting(farm: World) -> None:
    submit_job(farm, 6, resources={"cpu": 4, "memory": "1GiB"})
    run_dry(scheduler(farm).step)
    (main,) = [queue for queue in queue_tree(farm.database, farm.principal)["items"] if queue["name"] == "main"]
    cpu = next(share for share in main["shares"] if share["resource"] == "cpu")
    assert (cpu["entitled"], cpu["used"], cpu["borrowed"], main["waiting"]) == (16, 16, 16, 2)
    assert {"resource": "cpu", "source": "unpromised", "lender": None, "amount": 16} in main["borrows"]


def test_what_may_not_be_seen_is_not_named(farm: World) -> None:
    stranger = Principal(10**9, "nobody", "user")
    assert queue_tree(farm.database, stranger)["items"] == []
