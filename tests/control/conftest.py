from __future__ import annotations

import pytest

from bushel.store.database import Database
from tests.control.lifecycle_world import World


@pytest.fixture
def world(database: Database) -> World:
    """Two clusters whose agents hold leases."""
    world = World.build(database)
    for agent in world.agents:
        world.sync(agent)
    return world
