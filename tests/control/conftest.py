from __future__ import annotations

import pytest
from tests.control.lifecycle_world import World

from bushel.store.database import Database


@pytest.fixture
def world(database: Database) -> World:
    """Two clusters whose agents hold leases."""
    world = World.build(database)
    for agent in world.agents:
        world.sync(agent)
    return world
