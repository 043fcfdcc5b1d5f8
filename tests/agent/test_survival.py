"""What outlives what, and that nothing runs twice: agents, launchers and shims are killed and frozen for real."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bushel.agent.lease import read_lease
from tests.agent.conftest import AgentProcess, ControlPlane, alive, wait_for
from tests.small_disk import needs_root, small_disk


def _ledger(tmp_path: Path) -> tuple[Path, str]:
    """A file that counts starts, and the text that does so."""
    path = tmp_path / "ledger"
    path.touch()
    return path, f"echo $BUSHEL_JOB_ID.$BUSHEL_TASK_INDEX.$BUSHEL_ATTEMPT.$BUSHEL_RANK >> {path}"


def test_a_task_outlives_its_agent_and_is_taken_over(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    ledger, write = _ledger(tmp_path)
    go = tmp_path / "go"
    plane.want("aaaaa.0.1", f"{write}; while ! [ -e {go} ]; do sleep 0.02; done; echo done; exit 7")
    plane.wait_state("aaaaa.0.1", "running")
    shim = agent.shim("aaaaa.0.1")
    agent.kill()
    assert alive(shim)
    plane.reports.clear()
    agent.start()
    plane.wait_state("aaaaa.0.1", "running")
    go.touch()
    assert plane.ended("aaaaa.0.1")["exit_code"] == 7
    assert plane.output("aaaaa.0.1") == b"done\n"
    assert ledger.read_text().split() == ["aaaaa.0.1.0"]


def test_the_exit_code_of_a_task_that_ended_without_an_agent_is_read(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    plane.want("aaaaa.0.1", "echo begun; sleep 0.3; echo over; exit 42")
    plane.wait_state("aaaaa.0.1", "running")
    agent.kill()
    wait_for(lambda: len(agent.record("aaaaa.0.1")) == 2, "the result on disk")
    agent.start()
    assert plane.ended("aaaaa.0.1")["exit_code"] == 42
    assert plane.output("aaaaa.0.1") == b"begun\nover\n"


def test_stopping_the_agent_leaves_tasks_running(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "sleep 1000")
    plane.wait_state("aaaaa.0.1", "running")
    shim = agent.shim("aaaaa.0.1")
    agent.send(signal.SIGTERM)
    assert agent.wait_exit() == 0
    assert alive(shim)
    agent.start()
    plane.stop("aaaaa.0.1", grace_seconds=0.1)
    assert plane.ended("aaaaa.0.1")["reason"] == "cancelled_by_user"


def test_a_killed_launcher_is_replaced_and_loses_nothing(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    ledger, write = _ledger(tmp_path)
    wanted = [plane.want(f"aaaaa.{number}.1", f"{write}; sleep 0.2") for number in range(30)]
    for _ in range(3):
        for pid in _children_named(agent, "bushel-launcher"):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    for id in wanted:
        assert plane.ended(id)["exit_code"] == 0
    assert sorted(ledger.read_text().split()) == sorted(f"{id}.0" for id in wanted)


def test_a_task_whose_shim_is_killed_is_lost_and_nothing_of_it_is_left(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    plane.want("aaaaa.0.1", f"echo $$ > {pids}; setsid sh -c 'echo $$ >> {pids}; sleep 1000' & sleep 1000")
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2, "both processes")
    os.kill(agent.shim("aaaaa.0.1"), signal.SIGKILL)
    task = plane.ended("aaaaa.0.1")
    assert task["reason"] == "task_lost"
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


def test_the_launcher_clears_up_after_a_killed_shim_without_an_agent(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    plane.want("aaaaa.0.1", f"echo $$ > {pids}; setsid sh -c 'echo $$ >> {pids}; sleep 1000' & sleep 1000")
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2, "both processes")
    shim = agent.shim("aaaaa.0.1")
    agent.kill()
    os.kill(shim, signal.SIGKILL)
    wait_for(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()), "the launcher to kill what was left")


def test_wanting_an_attempt_again_and_again_starts_it_once(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    ledger, write = _ledger(tmp_path)
    plane.forgets = False
    for _ in range(5):
        plane.want("aaaaa.0.1", write)
    plane.ended("aaaaa.0.1")
    for _ in range(3):
        plane.want("aaaaa.0.1", write)
        agent.kill()
        plane.reports.clear()
        agent.start()
        plane.ended("aaaaa.0.1")
    assert ledger.read_text().split() == ["aaaaa.0.1.0"]


def test_an_attempt_that_is_not_wanted_any_more_is_stopped(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "sleep 1000")
    plane.wait_state("aaaaa.0.1", "running")
    shim_task = agent.state / "tasks" / "aaaaa.0.1.0"
    plane.drop("aaaaa.0.1")
    agent.kill()
    agent.start()
    wait_for(lambda: not shim_task.exists(), "the unwanted task to be gone")


def test_a_stop_that_comes_with_the_attempt_runs_nothing(
    plane: ControlPlane, new_agent: Callable[..., AgentProcess], tmp_path: Path
) -> None:
    ledger, write = _ledger(tmp_path)
    plane.want("aaaaa.0.1", write)
    plane.stop("aaaaa.0.1")
    new_agent().start()
    assert plane.ended("aaaaa.0.1")["reason"] == "cancelled_by_user"
    assert ledger.read_text() == ""


@pytest.mark.faults
def test_a_lease_that_runs_out_ends_tasks_even_of_a_frozen_agent(plane: ControlPlane, new_agent: Callable[..., AgentProcess]) -> None:
    plane.lease_seconds = 1.5
    agent = new_agent().start().wait_registered()
    plane.want("aaaaa.0.1", "trap '' TERM; while :; do sleep 0.1; done")
    plane.wait_state("aaaaa.0.1", "running")
    shim = agent.shim("aaaaa.0.1")
    time.sleep(2.5)  # two leases' length: it lives as long as the lease is renewed
    assert alive(shim)
    agent.send(signal.SIGSTOP)
    frozen_at = time.monotonic()
    wait_for(lambda: len(agent.record("aaaaa.0.1")) == 2, "the task to end by itself", 1.5 + 5.0)
    assert time.monotonic() - frozen_at < 1.5 + 5.0, "within the lease and the time for killing"
    assert agent.record("aaaaa.0.1")[1]["reason"] == "lease_expired"
    agent.send(signal.SIGCONT)
    assert plane.ended("aaaaa.0.1")["reason"] == "lease_expired"


@pytest.mark.faults
def test_a_parked_agent_leaves_its_tasks_beyond_the_lease(plane: ControlPlane, new_agent: Callable[..., AgentProcess]) -> None:
    plane.lease_seconds = 1.0
    agent = new_agent().start().wait_registered()
    plane.want("aaaaa.0.1", "sleep 1000")
    plane.wait_state("aaaaa.0.1", "running")
    shim = agent.shim("aaaaa.0.1")
    agent.send(signal.SIGUSR1)
    assert agent.wait_exit() == 0
    assert plane.parked
    time.sleep(3.5)
    assert alive(shim)
    agent.start()
    wait_for(lambda: not plane.parked, "the agent to be back")
    time.sleep(1.5)
    assert alive(shim), "it lives on under the lease that is renewed again"
    plane.stop("aaaaa.0.1", grace_seconds=0.1)
    assert plane.ended("aaaaa.0.1")["reason"] == "cancelled_by_user"


def test_parking_without_the_control_plane_is_not_parking(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.unreachable = True
    agent.send(signal.SIGUSR1)
    assert agent.wait_exit() == 3
    assert '"parked": false' in (agent.state / "lease.json").read_text()


def test_a_lease_that_has_passed_on_stops_tasks_before_a_new_one_is_asked_for(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "sleep 1000")
    plane.wait_state("aaaaa.0.1", "running")
    shim_task = agent.state / "tasks" / "aaaaa.0.1.0"
    record = agent.record("aaaaa.0.1")
    with plane.changed:
        plane.wanted.clear()
        plane.stale_epochs.add(1)
        plane.epoch = 2
        plane.version += 1
        plane.changed.notify_all()
    plane.want("bbbbb.0.1", "echo new")
    assert plane.ended("bbbbb.0.1")["exit_code"] == 0
    assert record
    wait_for(lambda: not shim_task.exists(), "the old epoch's task to be gone")
    assert plane.history["aaaaa.0.1"][-1] != "ended", "nobody is told of attempts of an old epoch"


def test_stopping_tasks_ends_them_reports_them_and_parks(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "echo begun; sleep 1000")
    plane.wait_state("aaaaa.0.1", "running")
    helper = AgentProcess(plane, agent.folder).start("--stop-tasks")
    assert helper.wait_exit() == 0
    assert agent.wait_exit() == 0
    assert plane.reports["aaaaa.0.1"]["tasks"][0]["reason"] == "preempted"
    assert plane.output("aaaaa.0.1") == b"begun\n"
    assert plane.parked


def test_a_second_agent_is_refused_the_folder(plane: ControlPlane, agent: AgentProcess) -> None:
    second = AgentProcess(plane, agent.folder).start()
    assert second.wait_exit() == 1
    assert "another agent uses" in agent.log.read_text()


def test_after_a_power_cut_everything_accepted_before_is_lost(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    ledger, write = _ledger(tmp_path)
    plane.want("aaaaa.0.1", f"{write}; sleep 1000")
    plane.wait_state("aaaaa.0.1", "running")
    shim = agent.shim("aaaaa.0.1")
    agent.kill()
    os.kill(shim, signal.SIGKILL)
    plane.want("bbbbb.0.1", write)  # wanted before, and its folder did not reach the disk
    for path in [agent.state / "identity.json", *agent.state.glob("tasks/*/record")]:
        path.write_text(path.read_text().replace(Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "another-boot"))
    plane.reports.clear()
    agent.start()
    assert plane.ended("aaaaa.0.1")["reason"] == "task_lost"
    assert plane.ended("bbbbb.0.1")["reason"] == "task_lost"
    plane.want("ccccc.0.1", write)
    assert plane.ended("ccccc.0.1")["exit_code"] == 0
    assert ledger.read_text().split() == ["aaaaa.0.1.0", "ccccc.0.1.0"]


def test_an_unreachable_control_plane_delays_reports_and_loses_none(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    go = tmp_path / "go"
    plane.want("aaaaa.0.1", f"while ! [ -e {go} ]; do sleep 0.02; done; echo late; exit 6")
    plane.wait_state("aaaaa.0.1", "running")
    plane.unreachable = True
    go.touch()
    wait_for(lambda: len(agent.record("aaaaa.0.1")) == 2, "the result on disk")
    plane.unreachable = False
    assert plane.ended("aaaaa.0.1")["exit_code"] == 6
    assert plane.output("aaaaa.0.1") == b"late\n"


def _children_named(agent: AgentProcess, name: str) -> list[int]:
    assert agent.process is not None
    children = []
    for task in Path(f"/proc/{agent.process.pid}/task").iterdir():
        children += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == name]


def test_an_agent_whose_folder_is_taken_away_gives_up_and_its_tasks_end(
    plane: ControlPlane, new_agent: Callable[..., AgentProcess], tmp_path: Path
) -> None:
    plane.lease_seconds = 3.0
    agent = new_agent().start().wait_registered()
    ledger, write = _ledger(tmp_path)
    plane.want("aaaaa.0.1", f"{write}; exec sleep 1000")
    shim = agent.shim("aaaaa.0.1")
    wait_for(lambda: ledger.exists() and ledger.read_text(), "the task's effect")
    shutil.rmtree(agent.state)
    assert agent.wait_exit() == 4
    wait_for(lambda: not alive(shim), "the task to end with its lease", 10)
    assert ledger.read_text().split() == ["aaaaa.0.1.0"]


@pytest.mark.slow
@needs_root
def test_a_full_disk_keeps_tasks_running_and_lets_them_be_stopped(plane: ControlPlane, new_agent: Callable[..., AgentProcess]) -> None:
    plane.lease_seconds = 2.0
    agent = new_agent()

    def expires() -> float:
        lease = read_lease(str(agent.state))
        return lease["expires_boottime"] if lease else 0.0

    with small_disk(agent.state, 4 * 1024**2):
        agent.start().wait_registered()
        plane.want("aaaaa.0.1", "sleep 1000")
        plane.want("bbbbb.0.1", f"cat /dev/zero > {agent.state}/filler; while :; do sleep 0.1; done")
        plane.wait_state("bbbbb.0.1", "running")
        wait_for(lambda: shutil.disk_usage(agent.state).free == 0, "the disk to be full")
        past = expires() + 2 * plane.lease_seconds
        wait_for(lambda: expires() > past, "the lease to be renewed")
        assert {plane.state("aaaaa.0.1"), plane.state("bbbbb.0.1")} == {"running"}
        plane.stop("bbbbb.0.1", grace_seconds=0.1)
        assert plane.ended("bbbbb.0.1")["reason"] == "cancelled_by_user"
        plane.want("ccccc.0.1", "true")
        assert plane.ended("ccccc.0.1")["reason"] == "disk_full"
        (agent.state / "filler").unlink()
        plane.stop("aaaaa.0.1", grace_seconds=0.1)
        assert plane.ended("aaaaa.0.1")["reason"] == "cancelled_by_user"
        plane.want("ddddd.0.1", "true")
        assert plane.ended("ddddd.0.1")["exit_code"] == 0
        agent.end()


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_a_gang_whose_end_is_recorded_stays_ended_however_much_of_it_was_forgotten(
    removed: int, plane: ControlPlane, new_agent: Callable[..., AgentProcess]
) -> None:
    agent = new_agent().start(failpoint=f"spares.before_aside@{removed + 1}").wait_registered()
    id = plane.want("aaaaa.0.1", ["true"], tasks=3)
    assert agent.wait_exit() == -signal.SIGKILL
    agent.start()
    wait_for(lambda: not list((agent.state / "tasks").iterdir()), "the rest of the gang to be forgotten")
    report = plane.wait_state(id, "ended")
    assert [task["exit_code"] for task in report["tasks"]] == [0, 0, 0]


def test_a_rank_that_ends_takes_no_folder_away_from_the_others(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    go = tmp_path / "go"
    wait = f"while ! [ -e {go} ]; do sleep 0.02; done"
    id = plane.want("aaaaa.0.1", f"[ $BUSHEL_RANK = 0 ] || {{ {wait}; echo kept > $BUSHEL_CHECKPOINT_DIR/file; }}", tasks=2)
    wait_for(lambda: len(agent.record(id, 0)) == 2, "rank 0 to end")
    go.touch()
    assert [task["exit_code"] for task in plane.wait_state(id, "ended")["tasks"]] == [0, 0]
