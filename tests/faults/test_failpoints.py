"""docs/concepts/guarantees.md#kill: the platform killed at every named point between two effects."""

from __future__ import annotations

import ast
import hashlib
import json
import signal
import time
from pathlib import Path

import pytest

import bushel
from bushel.client.workdir import pack
from tests.faults.ledger import Ledger, check_invariants
from tests.faults.platform import Platform, node, running_platform, wait_for

SOURCE = Path(bushel.__file__).parent

ELSEWHERE = {
    "installation/": "tests/installation",
    "control/bootstrap.py": "tests/api/test_process.py",
    "control/preemption.py": "tests/faults/test_preemption.py",
    "control/disk_retention.py": "tests/control/test_disk_retention.py",  # it wants files that are a month old
    "control/dataset_keeping.py": "tests/data/test_kills.py",  # it sweeps what is a week old
    "control/result_retention.py": "tests/control/test_result_retention.py",  # it wants runs that are a month old
    "data/": "tests/data/test_kills.py",  # within a task
    "storage/": "tests/data/test_kills.py",
    "agent/executors/kubernetes/": "tests/kubernetes/test_failpoints.py",
    "agent/task_log.py": "tests/agent/test_failpoints.py",  # only an agent that can send nothing for long drops output
}
"""Source → the tests that kill at its points, where this platform has no such step."""

POINTS_IN_A_RUN = 4

LATER = {"database.before_commit": 3, "database.after_commit": 3}
"""Points that are passed all the time: the visit at which the process dies, so that the kill falls into the work."""


def points() -> list[tuple[str, str]]:
    """Every `reach("…")` of the source as (file, name)."""
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        place = file.relative_to(SOURCE).as_posix()
        if place == "domain/failpoints.py":
            continue
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "reach":
                argument = call.args[0]
                assert isinstance(argument, ast.Constant), f"{place}:{call.lineno}: a failure point's name must be a literal"
                found.append((place, argument.value))
    return found


def groups() -> list[list[str]]:
    """The points of this platform, a few to a run, and not from one file."""
    here = [point for place, point in points() if not place.startswith(tuple(ELSEWHERE))]
    runs = -(-len(here) // POINTS_IN_A_RUN)
    return [here[first::runs] for first in range(runs)]


def test_names_of_failure_points_are_unique() -> None:
    names = [point for _, point in points()]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)


def test_points_that_are_not_tried_here_are_tried_elsewhere() -> None:
    root = Path(__file__).parents[2]
    for place, point in points():
        for prefix, tests in ELSEWHERE.items():
            if place.startswith(prefix):
                files = [root / tests] if tests.endswith(".py") else sorted((root / tests).rglob("*.py"))
                assert any(point in file.read_text() for file in files), f"no test in {tests} kills at {point}"


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("armed", groups(), ids="+".join)
def test_kills_at_these_points_lose_nothing_and_double_nothing(armed: list[str]) -> None:
    with running_platform({"fire": [node("n1"), node("n2")]}) as platform:
        ledger = Ledger(platform.folder)
        platform.up(armed=[f"{point}@{LATER[point]}" if point in LATER else point for point in armed])
        acknowledged = work(platform, ledger)
        states = platform.wait(acknowledged, 200)
        check_invariants(platform, ledger, acknowledged)
        assert [states[job] for job in acknowledged] == EXPECTED
        wait_for(f"kills at all of {armed}", lambda: platform.mend() or platform.reached() == set(armed), 30)


EXPECTED = ["succeeded"] * 9 + ["failed", "succeeded", "cancelled", "succeeded", "succeeded"] + ["succeeded"] * 3


def work(platform: Platform, ledger: Ledger) -> list[str]:
    """Every shape of job, and every way to end.

    One loses its agent and all that watched it at one blow; for the last one the agent is frozen past its lease. A partition
    of events that is too old to keep is there too.
    """
    key = f"work-{time.time_ns()}"
    effect = ledger.script
    small = {"cpu": 0.5, "memory": "64MiB"}
    again = f'if [ "$BUSHEL_ATTEMPT" -ge 2 ]; then {effect}; else exit 75; fi'
    retried = f'if [ "$BUSHEL_ATTEMPT" -ge 2 ]; then {effect}; else exit 3; fi'
    second_time = f'[ "$BUSHEL_ATTEMPT" -ge 2 ] || sleep 300; {effect}'
    retry = {"attempts": 3, "on": ["application", "infrastructure", "preempted"], "backoff": "1s"}
    platform.put("/v1/secrets/PASSWORD?scope=home/main/main", b'{"value": "correct horse"}', "application/json")
    with pack(None, extra={"script.sh": effect.encode()}).file as archive:
        body = archive.read()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    platform.put(f"/v1/projects/home/main/main/blobs/{digest}", body, "application/gzip")
    commit_a_version(platform, key)
    documents = [
        {"name": "single", "run": effect, "resources": small},
        {"name": "talkative", "run": f"seq 1 1000000; {effect}", "resources": small},
        {"name": "with-folder", "run": '[ "$PASSWORD" = "correct horse" ] && sh script.sh', "workdir": digest, "secrets": ["PASSWORD"]},
        {"name": "array", "run": effect, "resources": small, "array": "0-19%6"},
        {"name": "gang", "run": effect, "resources": small, "nodes": 2},
        {"name": "long", "run": f"sleep 2; {effect}", "resources": small},
        {"name": "after", "run": effect, "resources": small, "after": ["single", "array"]},
        {"name": "requeued", "run": again, "resources": small},
        {"name": "retried", "run": retried, "resources": small, "retry": retry},
        {"name": "failing", "run": f"{effect}; exit 4", "resources": small},
        {"name": "after-failure", "run": effect, "resources": small, "after": [{"job": "failing", "on": "failure"}]},
        {"name": "cancelled", "run": "sleep 300", "resources": small, "labels": {"to": "cancel"}},
        {"name": "lost", "run": second_time, "resources": small},
    ]
    begin_a_run(platform, ledger, key)
    jobs = platform.submit(*documents, key=key)
    *_, cancelled, lost = jobs
    wait_for("the job to cancel to run", lambda: running(platform, cancelled), 90)
    platform.ask("POST", "/v1/jobs/cancel", {"filter": {"labels": {"to": "cancel"}}}, key=f"cancel-{key}")
    wait_for("the job to lose to run", lambda: running(platform, lost), 90)
    platform.kill_agent_side("fire")
    wait_for("its first attempt to be lost", lambda: not running(platform, lost), 90)
    (given_up,) = platform.submit({"name": "given-up", "run": second_time, "resources": small}, key=f"given-up-{key}")
    wait_for("the job to be given up to run", lambda: running(platform, given_up), 90)
    platform.parts["agent-fire"].kill(signal.SIGSTOP)
    wait_for("its first attempt to be given up", lambda: not running(platform, given_up), 90)
    platform.parts["agent-fire"].kill(signal.SIGCONT)
    return [*jobs, given_up, *jobs_of_the_run(platform)]


def begin_a_run(platform: Platform, ledger: Ledger, key: str) -> None:
    """Of a pipeline that lists its partitions, works on each and sums up."""
    stages = {
        "list": {"once": True, "run": f"{ledger.script}; printf 'a\\nb\\nc\\n' > $BUSHEL_PARTITIONS_FILE"},
        "each": {"run": f"{ledger.script}; echo '{{\"outputs\": {{}}}}' > $BUSHEL_RESULT_FILE"},
        "sum": {"once": True, "after": "each", "run": ledger.script},
    }
    defaults = {"resources": {"cpu": 0.5, "memory": "64MiB"}}
    first = {"count": 1}  # one of them alone is done first
    document = {"name": "steps", "partitions": {"discovered_by": "list"}, "canary": first, "defaults": defaults, "stages": stages}
    platform.ask("POST", "/v1/pipelines?project=home/main/main", document, key=f"apply-{key}")
    begun = platform.ask("POST", "/v1/pipelines/steps/runs", {}, key=f"run-{key}")
    assert begun["number"] == 1


def jobs_of_the_run(platform: Platform) -> list[str]:
    """When it has ended. It was begun once."""

    def ended() -> bool:
        platform.mend()
        return platform.ask("GET", "/v1/pipelines/steps/runs/latest")["state"] == "succeeded"

    wait_for("the run to end", ended, 120)
    run = platform.ask("GET", "/v1/pipelines/steps/runs/latest")
    assert run["number"] == 1
    assert [(stage["name"], stage["counts"]["succeeded"]) for stage in run["stages"]] == [("list", 1), ("each", 3), ("sum", 1)]
    return [job for stage in run["stages"] for job in stage["jobs"]]


def commit_a_version(platform: Platform, key: str) -> None:
    """Of a data set; once, whatever dies."""
    (platform.folder / "data").mkdir(exist_ok=True)
    where = "project=home/main/main"
    place = json.dumps({"url": str(platform.folder / "data")}).encode()
    platform.put("/v1/storage/default?scope=home/main/main", place, "application/json")
    platform.put(f"/v1/datasets/frames?{where}", b"{}", "application/json")
    part = {"name": "a", "digest": f"sha256:{'0' * 64}", "place": "default", "files": 1, "bytes": 1, "records": 1}
    made = platform.ask("POST", f"/v1/datasets/frames/versions?{where}", {"parts": [part]}, key=f"commit-{key}")
    assert made["number"] == 1
    assert platform.query("select count(*) from dataset_versions") == [(1,)]
    assert platform.query("select count(*) from lineage_events") == [(2,)]


def running(platform: Platform, job: str) -> bool:
    platform.mend()
    return platform.job(job)["status"]["state"] == "running"
