"""docs/concepts/preemption.md: one queue takes back what another borrowed, from the submission to the last end, and with kills between."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bushel.domain.ids import encode_job_id
from tests.faults.platform import Platform, node, running_platform, wait_for

TRAINER = """
name={folder}/$BUSHEL_JOB_NAME
step=0
[ -z "$BUSHEL_RESUME_FROM" ] || step=$(cat "$BUSHEL_RESUME_FROM")
echo "attempt $BUSHEL_ATTEMPT begins at $step" >> $name.log
save() {{
    sleep 1
    echo $step > $name.saved
    echo "attempt $BUSHEL_ATTEMPT saved $step" >> $name.log
    echo "{{\\"checkpoint\\": {{\\"uri\\": \\"$name.saved\\", \\"step\\": $step}}}}" >> $BUSHEL_PROGRESS_FILE
    exit 143
}}
trap save TERM
step=$((step + 1))
while [ ! -e {folder}/all-may-end ]; do sleep 0.1; done
"""

CLAIM = "while [ ! -e {folder}/claim-may-end ]; do sleep 0.1; done"
SMALL = {"cpu": 1, "memory": "64MiB"}


def test_a_queue_takes_back_what_it_lent_and_the_borrower_goes_on_from_its_checkpoint() -> None:
    """docs/concepts/preemption.md#from-end-to-end"""
    with running_platform({"fire": [node("n1", cpu=2), node("n2", cpu=2)]}) as platform:
        platform.up()
        exchange(platform)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("point", ["preemption.before_commit", "preemption.after_commit"])
def test_so_it_does_when_the_leader_dies_on_the_way(point: str) -> None:
    """docs/concepts/preemption.md#kills"""
    with running_platform({"fire": [node("n1", cpu=2), node("n2", cpu=2)]}) as platform:
        platform.up(armed=[point])
        exchange(platform)
        assert platform.reached() == {point}


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("part", ["agent-fire", "control"])
def test_so_it_does_when_a_part_dies_during_the_notice(part: str) -> None:
    """docs/concepts/preemption.md#kills"""
    with running_platform({"fire": [node("n1", cpu=2), node("n2", cpu=2)]}) as platform:
        platform.up()
        exchange(platform, dies=part)
        assert platform.parts[part].deaths == [-signal.SIGKILL]


def exchange(platform: Platform, dies: str | None = None) -> None:
    """`owner` lends all it is guaranteed, `main` runs on everything, and then `owner` has a job."""
    folder = platform.folder / "work"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    trainer = TRAINER.format(folder=folder)
    platform.ask("POST", "/v1/queues", {"name": "owner", "scope": "home/main", "weight": 0, "guarantee": SMALL})
    lent = [submit(platform, f"train-{number}", trainer, "main") for number in range(4)]
    claim = platform.submit({"name": "claim", "run": CLAIM.format(folder=folder), "resources": SMALL, "queue": "owner"})[0]
    if dies:
        wait_for("somebody to be told to stop", lambda: platform.query("select 1 from attempts where state = 'stopping'"), 60)
        platform.parts[dies].kill()
        platform.parts[dies].ended()
    await_state(platform, claim, "running")
    victim = lent[-1]
    status = platform.job(victim)["status"]
    assert (status["state"], status["message"]) == (
        "queued",
        f"attempt 1 preempted: queue owner takes back what it is entitled to, for job {claim}",
    )
    assert [platform.job(job)["status"]["state"] for job in lent[:-1]] == ["running"] * 3, "no more victims than needed"
    assert log(folder, 3) == ["attempt 1 begins at 0", "attempt 1 saved 1"], "it got its notice"
    (folder / "claim-may-end").touch()
    assert platform.wait([claim], 60) == {claim: "succeeded"}
    await_state(platform, victim, "running")
    wait_for("it to go on from its checkpoint", lambda: log(folder, 3)[2:] == ["attempt 2 begins at 1"], 30)
    (folder / "all-may-end").touch()
    assert set(platform.wait(lent, 60).values()) == {"succeeded"}
    ends = platform.query("select job_id, number, outcome from attempts where outcome <> 'succeeded'")
    assert [(encode_job_id(job), number, outcome) for job, number, outcome in ends] == [(victim, 1, "preempted")]
    assert platform.query("select counted_failures, preemptions from retries") == [(0, 1)], "it cost no retry"


def submit(platform: Platform, name: str, script: str, queue: str) -> str:
    """The next one is submitted when this one runs, so that it is younger."""
    (job,) = platform.submit({"name": name, "run": script, "resources": SMALL, "queue": queue, "preemption": {"grace": "20s"}})
    await_state(platform, job, "running")
    return job


def await_state(platform: Platform, job: str, state: str) -> None:
    wait_for(f"{job} to be {state}", lambda: (platform.mend(), platform.job(job)["status"]["state"])[1] == state, 90)


def log(folder: Path, number: int) -> list[str]:
    return (folder / f"train-{number}.log").read_text().splitlines()
