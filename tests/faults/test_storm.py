"""docs/concepts/guarantees.md#kill: everything killed at random, agents frozen past their lease, connections cut."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, check_invariants
from tests.faults.platform import LEASE_SECONDS, Platform, node, running_platform, wait_for

JOBS = 2000
STORM_SECONDS = 120
SMALL = {"cpu": 0.25, "memory": "64MiB"}


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_storm_of_kills_loses_nothing_and_doubles_nothing() -> None:
    chooser = random.Random(20261124)
    with running_platform({"east": [node("e1"), node("e2")], "west": [node("w1")]}) as platform:
        ledger = Ledger(platform.folder)
        platform.up()
        acknowledged: list[str] = []
        kills = dict.fromkeys(platform.parts, 0)
        began = time.monotonic()
        waves = iter(range(JOBS // 50))
        while time.monotonic() - began < STORM_SECONDS:
            wave = next(waves, None)
            if wave is not None:
                acknowledged += platform.submit(*documents(ledger, wave), key=f"wave-{wave}")
            victim = chooser.choice(
                [*platform.parts] if chooser.random() < 0.4 else [name for name in platform.parts if name != "postgres"]
            )
            platform.parts[victim].kill()
            kills[victim] += 1
            time.sleep(chooser.uniform(0.2, 0.8))
            platform.mend()
        for wave in waves:
            acknowledged += platform.submit(*documents(ledger, wave), key=f"wave-{wave}")
        assert len(acknowledged) == len(set(acknowledged)) == JOBS // 50 * 50
        states = platform.wait(acknowledged, 400)
        check_invariants(platform, ledger, acknowledged)
        assert min(kills.values()) > 5, kills
        assert set(states.values()) == {"succeeded"}


def documents(ledger: Ledger, wave: int) -> list[dict[str, object]]:
    """Fifty jobs of every shape; in each wave one array of ten and one gang of three."""
    singles = [{"name": f"storm-{wave}-{number}", "run": ledger.script, "resources": SMALL} for number in range(48)]
    array = {"name": f"storm-{wave}-array", "run": ledger.script, "resources": SMALL, "array": "0-9%4"}
    gang = {"name": f"storm-{wave}-gang", "run": ledger.script, "resources": SMALL, "nodes": 3}
    return [*singles, array, gang]


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_frozen_agent_s_tasks_end_before_they_start_elsewhere() -> None:
    """docs/concepts/guarantees.md#leases"""
    with running_platform({"east": [node("e1")], "west": [node("w1")]}) as platform:
        ledger = Ledger(platform.folder)
        beats = platform.folder / "beats"
        platform.up()
        beat = f'while true; do echo "$BUSHEL_ATTEMPT $BUSHEL_CLUSTER $(date +%s.%N)" >> {beats}; sleep 0.1; done'
        (job,) = platform.submit({"name": "beating", "run": beat, "resources": SMALL})
        wait_for("the first beat", lambda: beats.exists() and beats.read_text())
        first = platform.job(job)["status"]["placement"][0]["cluster"]
        frozen = platform.parts[f"agent-{first}"]
        frozen.kill(signal.SIGSTOP)
        wait_for("a second attempt", lambda: _attempts(beats) == {1, 2}, LEASE_SECONDS * 2 + 60)
        last_of_first = max(at for attempt, _, at in _beats(beats) if attempt == 1)
        first_of_second = min(at for attempt, _, at in _beats(beats) if attempt == 2)
        assert last_of_first < first_of_second
        frozen.kill(signal.SIGCONT)
        time.sleep(3)  # long enough for a resumed agent to do wrong: ten reports of its own
        assert _attempts(beats) == {1, 2}
        assert max(at for attempt, _, at in _beats(beats) if attempt == 1) == last_of_first
        assert platform.job(job)["status"]["state"] == "running"
        platform.ask("POST", f"/v1/jobs/{job}/cancel", {})
        assert platform.wait([job])[job] == "cancelled"
        del ledger


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_connections_cut_at_commit_change_nothing() -> None:
    """Every connection is ended by the server again and again while jobs are submitted one a request."""
    with running_platform({"fire": [node("n1"), node("n2")]}) as platform:
        ledger = Ledger(platform.folder)
        platform.up()
        acknowledged: list[str] = []
        for number in range(150):
            acknowledged += platform.submit({"name": f"cut-{number}", "run": ledger.script, "resources": SMALL}, key=f"cut-{number}")
            if number % 3 == 0:
                _cut_connections(platform)
        assert len(set(acknowledged)) == 150
        assert set(platform.wait(acknowledged, 150).values()) == {"succeeded"}
        check_invariants(platform, ledger, acknowledged)


def _cut_connections(platform: Platform) -> None:
    platform.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'"
    )


def _beats(file: Path) -> list[tuple[int, str, float]]:
    lines = (line.split() for line in file.read_text().splitlines())
    return [(int(attempt), cluster, float(at)) for attempt, cluster, at in lines]


def _attempts(file: Path) -> set[int]:
    return {attempt for attempt, _, _ in _beats(file)}
