"""Killed between two effects, a start or a registration is taken up again by the next one."""

from __future__ import annotations

import pytest

from tests.installation.conftest import Installation

pytestmark = pytest.mark.faults

KILLED = -9
CUT_SHORT = 3


@pytest.mark.parametrize("point", ["postgres.before_data_named", "postgres.after_data_named"])
def test_a_first_start_that_is_killed_is_done_by_the_next(installation: Installation, point: str) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.environment["BUSHEL_FAILPOINT"] = point
    installation.run("up", "--port", "0", expect=CUT_SHORT)
    del installation.environment["BUSHEL_FAILPOINT"]
    installation.up()
    assert installation.call("GET", "/v1/whoami")


@pytest.mark.parametrize("point", ["clusters.before_token_file", "clusters.after_token_file"])
def test_a_registration_that_is_killed_yields_the_same_cluster(installation: Installation, point: str) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.environment["BUSHEL_FAILPOINT"] = point
    installation.run("up", "--port", "0", expect=KILLED)
    del installation.environment["BUSHEL_FAILPOINT"]
    up = installation.up()
    assert any(part["part"] == "agent" and part["says"].startswith("ready") for part in up["parts"])
    assert len(installation.call("GET", "/v1/clusters")["items"]) == 1
