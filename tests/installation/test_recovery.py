"""What happens when a part, or what keeps the parts running, is killed."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from bushel.installation.processes import is_alive
from tests.installation.conftest import Installation, wait_until

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("name", ["api", "control", "postgres"])
def test_a_part_that_is_killed_is_started_again(running: Installation, name: str) -> None:
    """docs/concepts/guarantees.md#installation"""
    before = running.pid(name)
    assert before
    os.kill(before, signal.SIGKILL)
    wait_until(f"a new {name}", lambda: running.pid(name) not in (None, before))
    wait_until("the API answers", lambda: running.run("whoami", expect=None).returncode == 0)


def test_no_part_outlives_its_supervisor_and_the_next_start_finds_everything(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.up("--port", "0")
    job = installation.call("POST", "/v1/jobs", {"run": "true"})["metadata"]["id"]
    pids = {name: part["pid"] for name, part in installation.parts().items() if part["pid"]}
    os.kill(installation.home.status()["pid"], signal.SIGKILL)
    wait_until("all parts have ended", lambda: not [name for name, pid in pids.items() if is_alive(pid)])
    installation.up()
    assert installation.call("GET", f"/v1/jobs/{job}")["metadata"]["id"] == job


def test_a_start_right_after_a_kill_does_not_trip_over_what_is_left(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.up("--port", "0")
    for name in ("postgres", None):
        pid = installation.pid(name) if name else installation.home.status()["pid"]
        assert pid
        os.kill(pid, signal.SIGKILL)
    installation.up()
    assert installation.call("GET", "/v1/whoami")


def test_a_lock_file_that_names_a_stranger_does_not_block_postgresql(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.up("--port", "0")
    lock = installation.home.postgres / "data" / "postmaster.pid"
    left = lock.read_text().splitlines()
    installation.run("down")
    lock.write_text("\n".join([str(os.getpid()), *left[1:]]) + "\n")  # a process that lives and is not PostgreSQL
    os.chown(lock, lock.parent.stat().st_uid, lock.parent.stat().st_gid)
    lock.chmod(0o600)
    installation.up()


def test_a_port_that_somebody_took_meanwhile_makes_postgresql_move(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.up("--port", "0")
    embedded = installation.home.settings().embedded
    assert embedded
    installation.run("down")
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", embedded.port))
        listening.listen()
        installation.up()
    moved = installation.home.settings().embedded
    assert moved
    assert moved.port != embedded.port


def test_a_running_task_outlives_down_and_is_taken_over_again(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.up("--port", "0")
    job = installation.run(
        "submit", "-o", "name", "--", "sh", "-c", "echo $$; while [ ! -e /tmp/bushel-go-$$ ]; do sleep 0.1; done"
    ).stdout.strip()
    wait_until("the task runs", lambda: installation.call("GET", f"/v1/jobs/{job}")["status"]["state"] == "running")
    pid = wait_until("the task says its pid", lambda: installation.run("logs", job).stdout.strip())
    installation.run("down")
    assert is_alive(int(pid))
    installation.up()
    assert installation.call("GET", f"/v1/jobs/{job}")["status"]["state"] == "running"
    go = f"/tmp/bushel-go-{pid}"
    with open(go, "w"):
        pass
    wait_until("the job succeeds", lambda: installation.call("GET", f"/v1/jobs/{job}")["status"]["state"] == "succeeded")
    os.unlink(go)
    assert installation.call("GET", f"/v1/jobs/{job}")["status"]["attempt"] == 1


def test_agents_and_their_tasks_follow_the_api_to_another_port(installation: Installation) -> None:
    port = installation.up("--port", "0")["url"].rpartition(":")[2]
    job = installation.run("submit", "-o", "name", "--", "sleep", "600").stdout.strip()
    wait_until("the task runs", lambda: installation.call("GET", f"/v1/jobs/{job}")["status"]["state"] == "running")
    installation.run("down")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(port)))
        taken.listen()
        assert installation.up("--port", "0")["url"].rpartition(":")[2] != port
    assert installation.run("run", "--", "echo", "hello").stdout == "hello\n"
    assert installation.call("GET", f"/v1/jobs/{job}")["status"]["attempt"] == 1
    moved = installation.home.settings().port
    installation.run("down")
    installation.up("--port", "0")
    assert installation.home.settings().port == moved, "a port that is still free is kept"


def test_down_can_stop_tasks_too(installation: Installation) -> None:
    """docs/concepts/guarantees.md#installation"""
    installation.up("--port", "0")
    job = installation.run("submit", "-o", "name", "--", "sh", "-c", "echo $$; exec sleep 600").stdout.strip()
    wait_until("the task runs", lambda: installation.call("GET", f"/v1/jobs/{job}")["status"]["state"] == "running")
    pid = int(wait_until("the task says its pid", lambda: installation.run("logs", job).stdout.strip()))
    installation.run("down", "--stop-tasks")
    assert not is_alive(pid)
