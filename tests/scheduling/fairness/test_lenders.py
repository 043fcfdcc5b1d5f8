"""Who borrows from whom: docs/guides/queues.md#who-borrows-from-whom"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand, FairShares, Shares
from bushel.scheduling.fairness.lenders import Loan, loans_of

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
            held = draw(st.integers(0, free)) if draw(st.booleans()) else 0
            free -= held
            queues.append(Queue(queue_id, f"q{queue_id}", team, guarantee={"cpu": part}))
            used[queue_id] = {"cpu": held}
    demands = [Demand(queue_id, ({"cpu": 1},), held["cpu"]) for queue_id, held in used.items() if held["cpu"]]
    return FairShares().update(queues, CAPACITY, demands, used)


@settings(deadline=None)
@given(shares())
def test_the_loans_of_a_queue_add_up_to_what_it_borrows(made: Shares) -> None:
    loans = loans_of(made, "cpu")
    for queue_id, row in made.rows.items():
        found = loans.get(queue_id, [])
        assert sum(loan.amount for loan in found) == made.borrowed[row, made.columns["cpu"]]
        assert all(loan.amount > 0 for loan in found)


@settings(deadline=None)
@given(shares())
def test_no_queue_is_said_to_lend_more_than_it_lends(made: Shares) -> None:
    given_away: dict[int, int] = {}
    for loan in (loan for found in loans_of(made, "cpu").values() for loan in found):
        if loan.lender_id is not None:
            given_away[loan.lender_id] = given_away.get(loan.lender_id, 0) + loan.amount
    for lender, amount in given_away.items():
        assert amount <= made.lent[made.rows[lender], made.columns["cpu"]]


def test_what_a_parent_lends_is_not_lent_to_a_child_of_its_own_again() -> None:
    """Two idle children lend to a third and, through their parent, to its sibling."""
    queues = [
        Queue(1, "parent", guarantee={"cpu": 10}),
        Queue(11, "idle", 1, guarantee={"cpu": 5}),
        Queue(12, "idle-too", 1, guarantee={"cpu": 4}),
        Queue(13, "busy", 1),
        Queue(2, "sibling"),
    ]
    used = {13: {"cpu": 2}, 2: {"cpu": 6}}
    made = FairShares().update(queues, {"cpu": 10}, [Demand(13, ({"cpu": 1},), 2), Demand(2, ({"cpu": 1},), 6)], used)
    loans = loans_of(made, "cpu")
    assert sum(loan.amount for loan in loans[13]) == 2
    assert loans[2] == [Loan("queue", 1, 6)]


def test_loans_are_few_among_many_queues() -> None:
    count = 200
    queues = [Queue(number, f"q{number}", guarantee={"cpu": 500}) for number in range(1, count + 1)]
    used = {number: {"cpu": 1000} for number in range(1, count + 1, 2)}
    demands = [Demand(number, ({"cpu": 1},), 1000) for number in used]
    made = FairShares().update(queues, {"cpu": 500 * count}, demands, used)
    assert sum(len(found) for found in loans_of(made, "cpu").values()) < 2 * count
