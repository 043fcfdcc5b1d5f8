"""Who borrows from whom: docs/guides/queues.md#who-borrows-from-whom"""

from __future__ import annotations

import pytest

from bushel.control.queue_tree import queue_tree
from bushel.domain.principal import Principal
from bushel.store.database import Database
from tests.control.farm import make_farm, run_dry, scheduler, submit_job
from tests.control.lifecycle_world import World


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
