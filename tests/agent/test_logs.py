"""What a task prints arrives as it was printed, whatever it is and whoever dies meanwhile."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bushel.agent.executors.local import spool
from bushel.agent.executors.local.spool import Masker, OutputStream, Spool
from bushel.agent.task_log import TaskLog
from bushel.spec.logs import PART_BYTES
from tests.agent.conftest import AgentProcess, ControlPlane, text_of, wait_for


def test_bytes_of_any_kind_survive(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", ["python3", "-c", "import os; os.write(1, bytes(range(256)) * 1000); os.write(1, b'no newline at the end')"])
    assert plane.output("aaaaa.0.1") == bytes(range(256)) * 1000 + b"no newline at the end"


def test_an_endless_line_survives_in_parts(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", ["python3", "-c", "import os; [os.write(1, b'x' * 50000) for _ in range(20)]"])
    assert plane.output("aaaaa.0.1") == b"x" * 1_000_000
    assert max(map(len, plane.logs["aaaaa.0.1", 0].split(b"\n"))) <= PART_BYTES + 60


def test_output_is_followed_while_the_task_runs(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    go = tmp_path / "go"
    plane.want("aaaaa.0.1", f"printf 'a question? '; while ! [ -e {go} ]; do sleep 0.02; done; echo answer")
    wait_for(lambda: text_of(plane.logs.get(("aaaaa.0.1", 0), b""), "stdout") == b"a question? ", "the unfinished line")
    go.touch()
    assert plane.output("aaaaa.0.1") == b"a question? answer\n"


def test_secrets_are_masked_wherever_they_are_cut(plane: ControlPlane, agent: AgentProcess) -> None:
    cut = "(os.write(1, s[:n]), time.sleep(0.02), os.write(1, s[n:] + b'|'))"
    code = f"import os,time; s=os.environ['S'].encode(); [{cut} for n in range(len(s))]"
    plane.want("aaaaa.0.1", ["python3", "-c", code], secrets={"S": "hunter-two"})
    assert plane.output("aaaaa.0.1") == b"***|" * len("hunter-two")


def test_a_restarted_agent_goes_on_where_the_log_ends(plane: ControlPlane, agent: AgentProcess, tmp_path: Path) -> None:
    plane.want("aaaaa.0.1", "for i in $(seq 1 200); do echo line $i; sleep 0.005; done")
    for _ in range(3):
        before = len(plane.logs.get(("aaaaa.0.1", 0), b""))
        wait_for(lambda before=before: len(plane.logs.get(("aaaaa.0.1", 0), b"")) > before, "more output")
        agent.kill()
        agent.start()
    assert plane.output("aaaaa.0.1").decode().split() == [word for number in range(1, 201) for word in ("line", str(number))]


@pytest.mark.slow
def test_a_flood_fills_no_memory_stops_nobody_and_says_what_it_lost(plane: ControlPlane, new_agent: Callable[..., AgentProcess]) -> None:
    agent = new_agent(log_spool_bytes=16 * 1024**2).start().wait_registered()
    plane.logs_refused = True
    plane.want("aaaaa.0.1", ["sh", "-c", "yes 0123456789012345678901234567890123456789 | head -c 200000000; echo the end"])
    shim = agent.shim("aaaaa.0.1")
    plane.want("bbbbb.0.1", "echo quick")
    assert plane.ended("bbbbb.0.1", 10)["exit_code"] == 0
    assert plane.ended("aaaaa.0.1", 60)["exit_code"] == 0
    assert _peak_bytes(shim) < 60 * 1024**2
    plane.logs_refused = False
    output = plane.output("aaaaa.0.1")
    assert output.endswith(b"the end\n")
    assert len(output) < 40 * 1024**2
    gaps = [line for line in text_of(plane.logs["aaaaa.0.1", 0], "stderr").split(b"\n") if b"bytes of output were dropped" in line]
    assert 1 <= len(gaps) <= 3
    assert agent.process is not None
    assert _peak_bytes(agent.process.pid) < 200 * 1024**2


def test_a_full_disk_costs_output_and_not_the_task(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = Spool(str(tmp_path / "log"), 64 * 1024**2)
    stream = OutputStream("stdout", writer, Masker([]))
    try:
        stream.feed(b"first\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        for _ in range(10):
            stream.feed(b"this does not fit\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    stream.feed(b"last\n")
    stream.close()
    log = _sent_wholly(tmp_path, writer.position)
    assert text_of(log, "stdout").startswith(b"first\n")
    assert text_of(log, "stdout").endswith(b"last\n")
    assert b"bytes of output were dropped here" in text_of(log, "stderr")


def test_the_record_of_a_gap_is_the_same_when_it_is_sent_again(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    record = b"2026-01-01T00:00:00.000000000Z stdout F after\n"
    (tmp_path / "log" / f"{1000:020d}").write_bytes(record)
    first = TaskLog(str(tmp_path), "aaaaa.0.1", 0)
    first.offset = 500
    gap, _ = first.chunk(1024)
    assert b" 500 bytes of output were dropped here" in gap
    again = TaskLog(str(tmp_path), "aaaaa.0.1", 0)
    again.offset = 500
    assert again.chunk(1024)[0] == gap
    again.accepted(500 + len(gap), 0)
    assert again.chunk(1024)[0] == record
    again.accepted(500 + len(gap) + len(record), 0)
    again.ended = True
    assert again.chunk(1024) == (b"", True)


@given(st.lists(st.binary(max_size=300) | st.text(max_size=50).map(str.encode), max_size=20), st.sampled_from([b"", b"\n", "é".encode()]))
def test_any_output_in_any_chunks_comes_back_byte_for_byte(chunks: list[bytes], end: bytes) -> None:
    kept = _Kept()
    stream = OutputStream("stdout", kept, Masker([]))  # type: ignore[arg-type]
    for chunk in [*chunks, end]:
        if chunk:
            stream.feed(chunk)
    stream.close()
    assert text_of(kept.records, "stdout") == b"".join(chunks) + end


@given(st.lists(st.sampled_from(["abcd", "bcda", "ab", "cd", "x", "\n", "abcdabcd"]), max_size=30))
def test_no_secret_comes_through_however_it_is_cut(pieces: list[str]) -> None:
    kept = _Kept()
    stream = OutputStream("stdout", kept, Masker(["abcd", "dabc"]))  # type: ignore[arg-type]
    for piece in pieces:
        stream.feed(piece.encode())
    stream.close()
    assert b"abcd" not in text_of(kept.records, "stdout")


class _Kept:
    """A spool in memory."""

    def __init__(self) -> None:
        self.records = b""

    def write(self, records: bytes) -> None:
        self.records += records


def _sent_wholly(folder: Path, final_position: int) -> bytes:
    """The log that the control plane would have."""
    task_log = TaskLog(str(folder), "aaaaa.0.1", 0)
    task_log.ended, task_log.final_position = True, final_position
    log = b""
    while True:
        data, ended = task_log.chunk(4096)
        log += data
        if ended:
            return log
        assert data
        task_log.accepted(len(log), len(log))


def _peak_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0  # it is gone, and was within its limit when it was last asked
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def test_segments_are_bounded(tmp_path: Path) -> None:
    writer = Spool(str(tmp_path / "log"), 0)
    record = b"2026-01-01T00:00:00.000000000Z stdout F " + b"x" * 10_000 + b"\n"
    for _ in range(3000):
        writer.write(record)
    writer.close()
    sizes = [os.stat(path).st_size for _, path in spool.segments(str(tmp_path / "log"))]
    assert sum(sizes) <= 3 * spool.SEGMENT_BYTES
    assert max(sizes) <= spool.SEGMENT_BYTES + len(record)
