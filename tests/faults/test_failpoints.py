"""docs/concepts/guarantees.md#kill: the platform killed at every named point between two effects."""

from __future__ import annotations

import ast
import signal
import time
from pathlib import Path

import pytest
from tests.faults.ledger import Ledger, check_invariants
from tests.faults.platform import Platform, node, running_platform, wait_for

import bushel

SOURCE = Path(bushel.__file__).parent

PARTS = {"api": ("api",), "control": ("control", "api"), "store": ("api", "control"), "agent": ("agent-fire",)}
"""Package of a point → the parts that may get there; each is killed there in a run of its own."""

ELSEWHERE = {
    "installation": "tests/installation",  # the supervisor's own points
    "control/bootstrap.py": "tests/control",
}


def points() -> list[tuple[str, str]]:
    """Every `reach("…")` of the source, with the package that holds it."""
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        place = file.relative_to(SOURCE).as_posix()
        if place.startswith(tuple(ELSEWHERE)) or place == "domain/failpoints.py":
            continue
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name | ast.Attribute):
                name = call.func.id if isinstance(call.func, ast.Name) else call.func.attr
                if name == "reach" and call.args:
                    argument = call.args[0]
                    assert isinstance(argument, ast.Constant), f"{place}:{call.lineno}: a failure point's name must be a literal"
                    found.append((place.partition("/")[0], argument.value))
    return found


def runs() -> list[tuple[str, str]]:
    return [(part, point) for package, point in points() for part in PARTS[package]]


def test_names_of_failure_points_are_unique() -> None:
    names = [point for _, point in points()]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)


def test_every_package_with_effects_has_failure_points() -> None:
    assert {package for package, _ in points()} == set(PARTS)


REACHED: dict[str, set[str]] = {}
"""Point → parts that died there in this run of the tests."""


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("part", "point"), runs())
def test_a_kill_at_this_point_loses_nothing_and_doubles_nothing(part: str, point: str) -> None:
    with running_platform({"fire": [node("n1"), node("n2")]}) as platform:
        ledger = Ledger(platform.folder)
        platform.up(armed={part: f"{point}@2" if "database." in point else point})
        acknowledged = work(platform, ledger)
        states = platform.wait(acknowledged, 150)
        check_invariants(platform, ledger, acknowledged)
        expected = ["succeeded"] * 8 + ["failed", "succeeded", "cancelled"]
        assert [states[job] for job in acknowledged] == expected
        if -signal.SIGKILL in platform.parts[part].deaths:
            REACHED.setdefault(point, set()).add(part)


@pytest.mark.faults
@pytest.mark.slow
def test_every_point_was_reached() -> None:
    """Runs after the kills: a point that no run gets to proves nothing."""
    if not REACHED:
        pytest.skip("the kills were not part of this run")
    assert {point for _, point in points()} <= set(REACHED)


def work(platform: Platform, ledger: Ledger) -> list[str]:
    """Every shape of job: single, with a work folder and a secret, array, gang, dependent, requeued, failing, retried, cancelled."""
    key = f"work-{time.time_ns()}"
    effect = ledger.script
    small = {"cpu": 0.5, "memory": "64MiB"}
    again = f'if [ "$BUSHEL_ATTEMPT" -ge 2 ]; then {effect}; else exit 75; fi'
    retried = f'if [ "$BUSHEL_ATTEMPT" -ge 2 ]; then {effect}; else exit 3; fi'
    retry = {"attempts": 3, "on": ["application", "infrastructure", "preempted"], "backoff": "1s"}
    documents = [
        {"name": "single", "run": effect, "resources": small},
        {"name": "talkative", "run": f"seq 1 2000; {effect}", "resources": small},
        {"name": "array", "run": effect, "resources": small, "array": "0-19%6"},
        {"name": "gang", "run": effect, "resources": small, "nodes": 2},
        {"name": "long", "run": f"sleep 2; {effect}", "resources": small},
        {"name": "after", "run": effect, "resources": small, "after": ["single", "array"]},
        {"name": "requeued", "run": again, "resources": small},
        {"name": "retried", "run": retried, "resources": small, "retry": retry},
        {"name": "failing", "run": f"{effect}; exit 4", "resources": small},
        {"name": "after-failure", "run": effect, "resources": small, "after": [{"job": "failing", "on": "failure"}]},
        {"name": "cancelled", "run": "sleep 300", "resources": small},
    ]
    jobs = platform.submit(*documents, key=key)
    wait_for("the job to cancel to run", lambda: _mended(platform).job(jobs[-1])["status"]["state"] in ("starting", "running"), 90)
    platform.ask("POST", f"/v1/jobs/{jobs[-1]}/cancel", {}, key=f"cancel-{key}")
    return jobs


def _mended(platform: Platform) -> Platform:
    platform.mend()
    return platform
