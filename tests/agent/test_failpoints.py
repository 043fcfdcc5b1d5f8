"""The agent is killed at every point between two of its effects, and started again: every task's effect happened once, or it is lost."""

from __future__ import annotations

import io
import os
import re
import signal
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import bushel.agent
from tests.agent.conftest import AgentProcess, ControlPlane, digest_of, text_of, wait_for

_SOURCES = sorted(Path(bushel.agent.__file__).parent.rglob("*.py"))
POINTS = sorted({name for path in _SOURCES for name in re.findall(r'\breach\("([^"]+)"\)', path.read_text())})
_IDS = {"aaaaa.0.1": 1, "aaaaa.1.1": 1, "bbbbb.0.1": 2, "ccccc.0.1": 1, "ddddd.0.1": 1}
"""Attempts and how many ranks each has."""

_OF_GAPS = ("task_log.before_gap", "task_log.after_gap")
"""Only an agent that could send nothing for long comes here."""

_OF_KUBERNETES = "kubernetes."
"""Those of an agent of a Kubernetes cluster are in tests/kubernetes/test_failpoints.py."""


def test_the_points_are_found() -> None:
    assert len(POINTS) > 20


@pytest.mark.faults
@pytest.mark.parametrize("point", [point for point in POINTS if point not in _OF_GAPS and not point.startswith(_OF_KUBERNETES)])
def test_killed_at(point: str, plane: ControlPlane, new_agent: Callable[..., AgentProcess], tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    write = f"echo $BUSHEL_JOB_ID.$BUSHEL_TASK_INDEX.$BUSHEL_ATTEMPT.$BUSHEL_RANK >> {ledger}"
    archive = _archive()
    plane.blobs[digest_of(archive)] = archive
    agent = new_agent()
    agent.start(failpoint=point)
    plane.want("aaaaa.0.1", f"{write}; echo printed")
    plane.want("aaaaa.1.1", f"{write}; cat file", workdir=digest_of(archive))
    plane.want("bbbbb.0.1", write, tasks=2)
    plane.want("ccccc.0.1", f"{write}; sleep 1000")
    plane.want("ddddd.0.1", f"{write}; sleep 1000")
    with suppress(_Died):
        _wait_or_died(agent, lambda: plane.state("ccccc.0.1") == "running" and plane.state("ddddd.0.1") == "running")
        plane.stop("ccccc.0.1", grace_seconds=0.2)
        with suppress(ProcessLookupError, IndexError):
            os.kill(agent.record("ddddd.0.1")[0]["pid"], signal.SIGKILL)
        _wait_or_died(agent, lambda: all(plane.state(id) == "ended" for id in _IDS) and not list((agent.state / "tasks").iterdir()))
    agent.kill()
    agent.start()
    plane.stop("ccccc.0.1", grace_seconds=0.2)
    plane.stop("ddddd.0.1", grace_seconds=0.2)
    for id, ranks in _IDS.items():
        report = plane.wait_state(id, "ended")
        assert len(report["tasks"]) == ranks
        lines = ledger.read_text().split()
        for task in report["tasks"]:
            written = lines.count(f"{id}.{task['rank']}")
            assert written <= 1, f"{id} rank {task['rank']} ran {written} times"
            if task["exit_code"] == 0 and task["reason"] is None:
                assert written == 1
            else:
                assert task["reason"] in ("task_lost", "cancelled_by_user", "sibling_failed"), task
    wait_for(lambda: not list((agent.state / "tasks").iterdir()), "nothing to be left of tasks that are recorded")


@pytest.mark.faults
@pytest.mark.parametrize("point", _OF_GAPS)
def test_killed_while_it_tells_of_a_gap(point: str, plane: ControlPlane, new_agent: Callable[..., AgentProcess]) -> None:
    plane.logs_refused = True
    agent = new_agent(log_spool_bytes=0).start(failpoint=point).wait_registered()
    plane.want("aaaaa.0.1", ["sh", "-c", "echo the start; yes 0123456789012345678901234567890123456789 | head -c 20000000; echo the end"])
    assert agent.wait_exit() == -signal.SIGKILL
    plane.logs_refused = False
    agent.start()
    assert plane.ended("aaaaa.0.1")["exit_code"] == 0
    assert plane.output("aaaaa.0.1").endswith(b"the end\n")
    assert b"bytes of output were dropped" in text_of(plane.logs["aaaaa.0.1", 0], "stderr")


class _Died(Exception):
    pass


def _wait_or_died(agent: AgentProcess, condition: Callable[[], bool]) -> None:
    """Until the condition holds, the agent dies, or a point that is in another process has had its time."""
    deadline = time.monotonic() + 1.5
    while not condition() and time.monotonic() < deadline:
        if agent.process is None or agent.process.poll() is not None:
            raise _Died
        time.sleep(0.01)


def _archive() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"here"))
    return content.getvalue()
