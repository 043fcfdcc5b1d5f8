"""What becomes of a task: docs/concepts/local-engine.md, tried with a real agent."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from bushel.agent.executors.local.cgroups import Limiter
from bushel.api.wellformed import check_json
from tests.agent.conftest import AgentProcess, ControlPlane, alive, wait_for


def test_a_task_that_succeeds_is_reported_with_what_it_used(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "echo hello; echo oops >&2")
    task = plane.ended("aaaaa.0.1")
    assert (task["exit_code"], task["signal"], task["reason"]) == (0, None, None)
    assert task["started_at"] <= task["ended_at"]
    assert task["usage"]["cpu_seconds"] > 0
    assert task["usage"]["peak_memory_bytes"] > 0
    assert plane.output("aaaaa.0.1") == b"hello\n"
    assert plane.output("aaaaa.0.1", stream="stderr") == b"oops\n"


@pytest.mark.parametrize(
    ("run", "exit_code", "signal", "reason"),
    [
        ("exit 3", 3, None, "exit_code"),
        ("kill -9 $$", None, 9, "signalled"),
        ("exit 75", 75, None, "checkpointed"),
        (["true"], 0, None, None),
    ],
)
def test_how_a_task_ended_is_told_exactly(
    plane: ControlPlane, agent: AgentProcess, run: str | list[str], exit_code: int | None, signal: int | None, reason: str | None
) -> None:
    plane.want("aaaaa.0.1", run)
    task = plane.ended("aaaaa.0.1")
    assert (task["exit_code"], task["signal"], task["reason"]) == (exit_code, signal, reason)


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (["no-such-command"], "there is no command 'no-such-command' in PATH"),
        (["./missing"], "there is no file './missing'"),
        (["/etc/passwd"], "'/etc/passwd' may not be executed"),
        (["/tmp"], "'/tmp' is a folder"),
    ],
)
def test_a_program_that_cannot_start_says_why(plane: ControlPlane, agent: AgentProcess, run: list[str], sentence: str) -> None:
    plane.want("aaaaa.0.1", run)
    task = plane.ended("aaaaa.0.1")
    assert task["reason"] == "start_failed"
    assert sentence in task["message"]


def test_a_missing_interpreter_is_named(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    plane.want("aaaaa.0.1", [str(script)])
    assert "names an interpreter in its first line that does not exist" in plane.ended("aaaaa.0.1")["message"]


def test_setup_runs_first_and_its_failure_is_its_own(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "cat made-by-setup", setup="echo ready > made-by-setup")
    plane.want("bbbbb.0.1", "echo never", setup="echo broken; exit 4")
    assert plane.ended("aaaaa.0.1")["exit_code"] == 0
    assert plane.output("aaaaa.0.1") == b"ready\n"
    task = plane.ended("bbbbb.0.1")
    assert task["reason"] == "setup_failed"
    assert "exit code 4" in task["message"]
    assert plane.output("bbbbb.0.1") == b"broken\n"


def test_a_stop_reaches_the_whole_tree_and_respects_the_grace(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"echo $$ >> {pids}; setsid sh -c 'echo $$ >> {pids}; trap : TERM; while :; do sleep 0.1; done' & trap 'exit 9' TERM; wait"
    plane.want("aaaaa.0.1", code)
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2, "both processes")
    began = time.monotonic()
    plane.stop("aaaaa.0.1", grace_seconds=1.0)
    task = plane.ended("aaaaa.0.1")
    assert task["reason"] == "cancelled_by_user"
    assert task["exit_code"] == 9
    assert time.monotonic() - began >= 0.95, "the grandchild that ignored SIGTERM had its grace"
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


def test_what_a_task_leaves_running_ends_with_it(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    plane.want("aaaaa.0.1", f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 1000' & while ! [ -s {pid_file} ]; do sleep 0.01; done")
    assert plane.ended("aaaaa.0.1")["exit_code"] == 0
    assert not alive(int(pid_file.read_text()))


def test_the_time_limit_ends_a_task(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "sleep 1000", time_limit=0.3)
    assert plane.ended("aaaaa.0.1")["reason"] == "time_limit"


def test_a_preempted_task_gets_its_notice_first(plane: ControlPlane, agent: AgentProcess) -> None:
    code = "import signal,time; signal.signal(signal.SIGUSR1, lambda *_: exit(75)); print('up', flush=True); time.sleep(1000)"
    run = f'python3 -c "{code}"; exit $?'
    plane.want("aaaaa.0.1", run, preemption={"grace": 10, "notice": "SIGUSR1", "checkpoint": True})
    wait_for(lambda: b"up" in plane.logs.get(("aaaaa.0.1", 0), b""), "the task to be ready")
    plane.stop("aaaaa.0.1", reason="preempted", grace_seconds=10)
    task = plane.ended("aaaaa.0.1")
    assert (task["reason"], task["exit_code"]) == ("preempted", 75)


def test_out_of_memory_is_told_apart(plane: ControlPlane, agent: AgentProcess) -> None:
    wait_for(lambda: plane.nodes, "the node's report")
    if "told apart" not in plane.nodes[0]["detail"]["limits"]["out_of_memory"]:
        pytest.skip("no control group is writable here")
    plane.want("aaaaa.0.1", ["python3", "-c", "b = bytearray(300_000_000); print(len(b))"], amounts={"cpu": 1000, "memory": 64 * 1024**2})
    plane.want("bbbbb.0.1", ["python3", "-c", "b = bytearray(30_000_000); print(len(b))"], amounts={"cpu": 1000, "memory": 128 * 1024**2})
    task = plane.ended("aaaaa.0.1")
    assert task["reason"] == "out_of_memory"
    good = plane.ended("bbbbb.0.1")
    assert good["exit_code"] == 0
    assert 30_000_000 < good["usage"]["peak_memory_bytes"] < 100_000_000


def test_a_task_is_told_what_it_is(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.7.2", "env", env={"MINE": "yes", "BUSHEL_RANK": "999"}, secrets={"TOKEN_X": "tell-nobody-about-it"})
    told = dict(line.split("=", 1) for line in plane.output("aaaaa.7.2").decode().splitlines() if "=" in line)
    assert told["MINE"] == "yes"
    assert told["TOKEN_X"] == "***"
    expected = {
        "JOB_ID": "aaaaa",
        "JOB_NAME": "probe",
        "ATTEMPT": "2",
        "SITE": "s1",
        "CLUSTER": "c1",
        "GROUP": "main",
        "TASK_INDEX": "7",
        "RANK": "0",
        "WORLD_SIZE": "1",
        "HOSTS": "127.0.0.1",
        "MASTER_ADDRESS": "127.0.0.1",
        "GRACE_SECONDS": "5",
    }
    assert {name: told[f"BUSHEL_{name}"] for name in expected} == expected
    assert int(told["BUSHEL_MASTER_PORT"]) > 0
    assert told["BUSHEL_DEADLINE"].endswith("Z")
    assert not any("bushel_x_y" in value for value in told.values()), "the agent's own token is not the task's"


def test_progress_is_reported_from_print_and_from_file(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", 'echo \'::progress {"done": 1, "total": 2}\'; sleep 1000')
    plane.want("bbbbb.0.1", "echo '{\"done\": 5}' >> $BUSHEL_PROGRESS_FILE; echo not json >> $BUSHEL_PROGRESS_FILE; exit 0")
    wait_for(lambda: (plane.reports.get("aaaaa.0.1") or {}).get("progress") == {"done": 1, "total": 2}, "the printed progress")
    plane.ended("bbbbb.0.1")
    assert plane.reports["bbbbb.0.1"]["progress"] == {"done": 5}
    plane.stop("aaaaa.0.1", grace_seconds=0)
    plane.ended("aaaaa.0.1")


def test_progress_that_cannot_be_sent_costs_one_value_and_stops_nobody(plane: ControlPlane, agent: AgentProcess) -> None:
    told = (
        r"""{"done": 3, "loss": NaN, "most": -1e999, "text": "a\ud800\u0000b", "huge": 1"""
        + "0" * 400
        + r""", "deep": """
        + "[" * 500
        + "]" * 500
        + "}"
    )
    plane.want("aaaaa.0.1", ["echo", "::progress " + told])
    plane.ended("aaaaa.0.1")
    progress = plane.reports["aaaaa.0.1"]["progress"]
    deep = progress.pop("deep")
    assert progress == {"done": 3, "loss": None, "most": None, "text": "a\ufffd\ufffdb", "huge": None}
    check_json(json.dumps(deep).encode())


def test_a_gang_gets_ranks_and_one_port_and_falls_together(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "echo $BUSHEL_RANK $BUSHEL_WORLD_SIZE $BUSHEL_MASTER_PORT $BUSHEL_HOSTS", tasks=3)
    plane.wait_state("aaaaa.0.1", "ended")
    lines = [plane.output("aaaaa.0.1", rank).decode().split() for rank in range(3)]
    assert [line[0] for line in lines] == ["0", "1", "2"]
    assert len({tuple(line[1:]) for line in lines}) == 1
    assert lines[0][1] == "3"
    assert lines[0][3] == "127.0.0.1,127.0.0.1,127.0.0.1"

    plane.want("bbbbb.0.1", "if [ $BUSHEL_RANK = 1 ]; then sleep 0.2; exit 5; fi; sleep 1000", tasks=3)
    tasks = plane.wait_state("bbbbb.0.1", "ended")["tasks"]
    assert [task["reason"] for task in tasks] == ["sibling_failed", "exit_code", "sibling_failed"]


def test_files_and_groups_of_a_finished_task_go(plane: ControlPlane, agent: AgentProcess) -> None:
    for number in range(5):
        plane.want(f"aaaaa.{number}.1", "echo x > left-behind")
    for number in range(5):
        plane.ended(f"aaaaa.{number}.1")
    wait_for(lambda: not os.listdir(agent.state / "tasks"), "the folders of finished tasks to go")
    assert plane.history["aaaaa.0.1"][-1] == "ended"
    parents = Limiter.detect(str(agent.state)).parents
    wait_for(lambda: not [path for parent in parents.values() for path in Path(parent).glob("*/")], "their control groups to go")
