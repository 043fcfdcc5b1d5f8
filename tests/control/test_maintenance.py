"""When nodes are worked on, on real PostgreSQL: docs/guides/operate.md#maintenance"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from bushel.control.maintenance import plan_window, take_window_away
from bushel.domain.errors import Conflict, Forbidden, InvalidDocument, NotFound
from bushel.domain.permissions import Role
from bushel.domain.principal import Principal
from bushel.store.database import Database
from tests.control.farm import make_farm, rows, run_dry, same_as_loaded, scheduler, submit_job
from tests.control.lifecycle_world import World

NODES = (("c0", "c0-n1"), ("c0", "c0-n2"), ("c1", "c1-n1"), ("c1", "c1-n2"))


@pytest.fixture
def farm(database: Database) -> World:
    return make_farm(database)


def maintain(
    farm: World, cluster: str, name: str, begin_hours: float, end_hours: float, principal: Principal | None = None
) -> dict[str, Any]:
    now = datetime.now(UTC)
    with farm.database.transaction() as tx:
        begin, end = now + timedelta(hours=begin_hours), now + timedelta(hours=end_hours)
        return plan_window(tx, principal or farm.principal, cluster, name, begin, end, "new fans")


def test_nothing_starts_on_a_node_that_is_being_worked_on(farm: World) -> None:
    planner = scheduler(farm)
    planner.step()
    for cluster, name in NODES[:3]:
        maintain(farm, cluster, name, -1, 1)
    submit_job(farm, 16)
    assert run_dry(planner.step) == 4, "only what the one other node holds"
    same_as_loaded(farm, planner._keeper)


def test_a_plan_made_before_a_window_was_known_places_nothing_there(farm: World) -> None:
    planner = scheduler(farm)
    planner.step()
    before = {row["name"]: row["version"] for row in rows(farm, "select name, version from nodes")}
    maintain(farm, "c0", "c0-n1", -1, 1)
    after = {row["name"]: row["version"] for row in rows(farm, "select name, version from nodes")}
    assert after == before | {"c0-n1": before["c0-n1"] + 1}


def test_work_starts_there_once_the_window_is_taken_away(farm: World) -> None:
    planner = scheduler(farm)
    windows = {(cluster, name): maintain(farm, cluster, name, -1, 1)["maintenance"][0]["id"] for cluster, name in NODES}
    submit_job(farm, 4)
    assert run_dry(planner.step) == 0
    with farm.database.transaction() as tx:
        assert take_window_away(tx, farm.principal, "c0", "c0-n1", windows["c0", "c0-n1"])["maintenance"] == []
    assert run_dry(planner.step) == 4
    same_as_loaded(farm, planner._keeper)


def test_windows_of_a_node_do_not_overlap_and_end_after_they_begin(farm: World) -> None:
    maintain(farm, "c0", "c0-n1", 1, 3)
    with pytest.raises(Conflict, match="already"):
        maintain(farm, "c0", "c0-n1", 2, 4)
    assert len(maintain(farm, "c0", "c0-n1", 3.5, 4)["maintenance"]) == 2
    for begin, end in ((3, 2), (-3, -2)):
        with pytest.raises(InvalidDocument, match="/ends_at"):
            maintain(farm, "c0", "c0-n2", begin, end)
    last = datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=12)))
    with pytest.raises(InvalidDocument, match="/ends_at"), farm.database.transaction() as tx:
        plan_window(tx, farm.principal, "c0", "c0-n2", datetime.now(UTC), last, "new fans")


def test_windows_are_audited_and_only_for_who_may_change_the_fleet(farm: World) -> None:
    node = maintain(farm, "c0", "c0-n1", 1, 3)
    with farm.database.transaction() as tx:
        take_window_away(tx, farm.principal, "c0", "c0-n1", node["maintenance"][0]["id"])
    told = [row["action"] for row in rows(farm, "select action from audit where object = 'node/c0/c0-n1' order by id")]
    assert told == ["node:plan-maintenance", "node:end-maintenance"]
    with pytest.raises(NotFound, match="no maintenance window"), farm.database.transaction() as tx:
        take_window_away(tx, farm.principal, "c0", "c0-n2", 1)
    viewer = Principal(farm.principal.id, "viewer", "user", bindings={"home": Role.VIEWER}, request_id="test")
    with pytest.raises(Forbidden):
        maintain(farm, "c0", "c0-n1", 1, 3, viewer)
