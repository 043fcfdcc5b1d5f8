"""Everybody at once: nobody waits for each other in a circle, and the life cycle still holds."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from bushel.control.submit import submit
from bushel.domain.errors import BushelError, Conflict, StaleEpoch
from bushel.spec.canonical import canonical
from tests.control.lifecycle_world import World, task
from tests.control.test_lifecycle_properties import check

ROUNDS = 120


def test_reports_cancellations_placements_submissions_and_controllers_at_once(world: World) -> None:
    jobs = [world.submit(array=array, retry={"on": ["application"], "backoff": 0}) for array in [None] * 20 + ["0-49"] * 4]
    known = list(jobs)
    failures: list[BaseException] = []

    def loop(seed: int, act: Callable[[random.Random], None]) -> threading.Thread:
        def run() -> None:
            draw = random.Random(seed)
            try:
                for _ in range(ROUNDS):
                    act(draw)
            except BaseException as error:
                failures.append(error)

        return threading.Thread(target=run, name=act.__name__)

    def place(draw: random.Random) -> None:
        world.place(draw.choice(known), draw.randrange(1, 20), draw.randrange(2))

    def report(draw: random.Random) -> None:
        agent = world.agents[draw.randrange(2)]
        keys = [key for job in draw.sample(known, 8) for key in world.live(job)]
        draw.shuffle(keys)
        reports = [agent.report(key, draw.choice(["running", "ended", "ended"]), task(exit_code=draw.choice([0, 0, 1]))) for key in keys]
        try:
            world.sync(agent, *reports)
        except (StaleEpoch, Conflict):
            agent.epoch, agent.known_version = None, 0

    def cancel(draw: random.Random) -> None:
        world.cancel(draw.choice(known), draw.choice([None, "0-9", "40-45"]))

    def preempt(draw: random.Random) -> None:
        for key in world.live(draw.choice(known))[:3]:
            world.preempt(key)

    def depend(draw: random.Random) -> None:
        after = [{"job": world.text(job), "on": draw.choice(["success", "failure", "end"])} for job in draw.sample(known, 3)]
        documents = [canonical({"run": "true", "name": f"n{number}", "after": after}) for number in range(3)]
        with world.database.transaction() as tx:
            rows = submit(tx, world.principal, documents, project="home/main/main")
        known.extend(row["id"] for row in rows)

    def control(draw: random.Random) -> None:
        if draw.random() < 0.05:
            world.silence(world.agents[0])
        world.settle()

    threads = [loop(seed, act) for seed, act in enumerate([place, place, report, report, cancel, preempt, depend, control])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive(), f"{thread.name} did not end within 100 s"
    assert not failures, [error.message if isinstance(error, BushelError) else repr(error) for error in failures]
    with world.database.transaction() as tx:
        every_job = [row["id"] for row in tx.all("select id from jobs")]
    world.settle()
    check(world, every_job, {})
