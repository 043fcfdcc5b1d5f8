"""Logs: bytes are neither lost, doubled nor mixed up, whatever is sent, cut off or full."""

from __future__ import annotations

import gzip
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.domain.errors import DiskFull
from bushel.store.logs import Gap, LogFolder, LogId, NotRecords, last_records, select_output

LOG = LogId(7, 0, 1, 0)
KIB = 1024


def record(text: bytes, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"2026-11-24T11:20:00.123456789Z {stream} {tag} ".encode() + text + b"\n"


def records(count: int, *, width: int = 50) -> bytes:
    return b"".join(record(b"%0*d" % (width, number)) for number in range(count))


def whole(folder: LogFolder, log: LogId = LOG, offset: int = 0, limit_bytes: int = 10 * KIB) -> bytes:
    parts = []
    while True:
        page = folder.read(log, offset, limit_bytes)
        if not page.data:
            return b"".join(parts)
        parts.append(page.data)
        offset = page.next_offset


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def small(tmp_path: Path) -> LogFolder:
    return LogFolder(tmp_path, segment_bytes=4 * KIB, head_bytes=8 * KIB, limit_bytes=32 * KIB)


def test_what_is_sent_again_is_skipped_and_a_gap_is_refused(small: LogFolder) -> None:
    data = records(10)
    half = len(record(b"0" * 50)) * 5
    assert small.append(LOG, 0, data[:half]).size_bytes == half
    assert small.append(LOG, 0, data[:half]).size_bytes == half
    with pytest.raises(Gap) as refused:
        small.append(LOG, half + 1, data[half:])
    assert refused.value.size_bytes == half
    assert small.append(LOG, 0, data).size_bytes == len(data), "only what is new is taken of a chunk that overlaps"
    assert whole(small) == data


def test_a_first_chunk_behind_the_beginning_is_refused(small: LogFolder) -> None:
    with pytest.raises(Gap) as refused:
        small.append(LOG, 100, record(b"x"))
    assert refused.value.size_bytes == 0


def test_a_chunk_that_is_no_whole_records_is_refused(small: LogFolder) -> None:
    with pytest.raises(NotRecords):
        small.append(LOG, 0, record(b"x")[:-1])
    assert small.state(LOG).size_bytes == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=60).map(lambda text: text.replace(b"\n", b"")), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=20),
)
def test_any_order_of_repeated_chunks_gives_the_same_log(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], chunks: list[tuple[int, int]]
) -> None:
    folder = LogFolder(tmp_path_factory.mktemp("logs"), segment_bytes=200, head_bytes=10**9, limit_bytes=10**9)
    ends, content = [0], b""
    for text in texts:
        content += record(text)
        ends.append(len(content))
    for chunk in chunks:
        start, stop = sorted(ends[min(number, len(ends) - 1)] for number in chunk)
        size = folder.state(LOG).size_bytes
        if start > size:
            with pytest.raises(Gap):
                folder.append(LOG, start, content[start:stop])
        else:
            assert folder.append(LOG, start, content[start:stop]).size_bytes == max(size, stop)
        assert whole(folder, limit_bytes=100) == content[: folder.state(LOG).size_bytes]
    folder.append(LOG, 0, content)
    assert whole(folder) == content


def test_full_segments_are_packed_and_read_from_any_offset(small: LogFolder, tmp_path: Path) -> None:
    data = records(200)
    small.append(LOG, 0, data)
    packed = [name for name in files(tmp_path) if name.endswith(".gz")]
    assert len(packed) >= 2
    for offset in (0, 1, 5000, len(data) - 1, len(data), len(data) + 10):
        assert whole(small, offset=offset) == data[offset:]
    first = next(path for path in tmp_path.rglob(f"{0:020d}.log.gz"))
    assert data.startswith(gzip.decompress(first.read_bytes()))


def test_past_the_limit_the_beginning_and_the_end_are_kept_and_readers_are_told_of_the_gap(small: LogFolder) -> None:
    data = records(2000)
    for start in range(0, len(data), len(record(b"0" * 50)) * 40):
        small.append(LOG, start, data[start : start + len(record(b"0" * 50)) * 40])
    state = small.state(LOG)
    assert state.size_bytes == len(data)
    assert state.dropped is not None
    stop, first = state.dropped
    assert stop >= 8 * KIB
    assert stop + len(data) - first <= 32 * KIB
    assert whole(small) == data[:stop] + data[first:]
    page = small.read(LOG, stop + 1, 1000)
    assert page.offset == first
    assert data[first:].startswith(page.data)


def test_binary_output_survives(small: LogFolder) -> None:
    data = b"".join(record(bytes(b for b in range(256) if b != 10) * 3) for _ in range(30))
    small.append(LOG, 0, data)
    assert whole(small) == data


def test_a_record_longer_than_a_segment_or_a_page_is_kept_whole(small: LogFolder) -> None:
    data = record(b"a") + record(b"b" * 20 * KIB) + record(b"c")
    small.append(LOG, 0, data)
    assert whole(small, limit_bytes=512) == data


def test_a_torn_end_is_cut_away_and_sent_again(small: LogFolder, tmp_path: Path) -> None:
    data = records(5)
    small.append(LOG, 0, data)
    segment = next(tmp_path.rglob("*.log"))
    with segment.open("ab") as file:
        file.write(record(b"torn")[:-3])
    assert small.state(LOG).size_bytes == len(data)
    assert whole(small) == data, "a reader never sees a torn record"
    assert small.append(LOG, len(data), record(b"next")).size_bytes == len(data) + len(record(b"next"))
    assert whole(small) == data + record(b"next")


@pytest.mark.faults
@pytest.mark.parametrize("point", ["logs.after_part", "logs.after_write", "logs.before_pack", "logs.after_pack", "logs.after_pack@3"])
def test_a_kill_in_the_middle_leaves_a_log_that_can_be_appended_to(tmp_path: Path, point: str) -> None:
    data = records(400)
    program = (
        "import sys; from pathlib import Path; from bushel.store.logs import LogFolder, LogId;"
        "f = LogFolder(Path(sys.argv[1]), segment_bytes=4096, head_bytes=8192, limit_bytes=10**9);"
        "d = sys.stdin.buffer.read(); f.append(LogId(7, 0, 1, 0), 0, d)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], input=data, env={**os.environ, "BUSHEL_FAILPOINT": point}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    folder = LogFolder(tmp_path, segment_bytes=4096, head_bytes=8192, limit_bytes=10**9)
    size = folder.state(LOG).size_bytes
    assert whole(folder) == data[:size]
    folder.append(LOG, 0, data)
    assert whole(folder) == data
    assert not [name for name in files(tmp_path) if name.endswith(".draft")]


def test_two_who_append_at_once_do_not_mix(tmp_path: Path) -> None:
    data = records(3000)
    width = len(record(b"0" * 50))
    folders = [LogFolder(tmp_path, segment_bytes=8 * KIB) for _ in range(2)]

    def send(folder: LogFolder) -> None:
        position = 0
        while position < len(data):
            position = folder.append(LOG, position, data[position : position + 7 * width]).size_bytes

    threads = [threading.Thread(target=send, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert whole(folders[0]) == data


def test_finishing_makes_all_of_it_durable(small: LogFolder) -> None:
    data = records(100)
    before = small.append(LOG, 0, data)
    assert before.durable_bytes < before.size_bytes
    assert small.finish(LOG).durable_bytes == len(data)
    assert small.finish(LogId(8, 0, 1, 0)).size_bytes == 0, "a task that printed nothing has no folder"


def test_output_is_chosen_by_stream_and_from_the_end() -> None:
    data = record(b"one") + record(b"two stderr F", "stderr") + record(b"a\rb stderr ", "stdout") + record(b"four", "stderr", "P")
    assert select_output(data, "stderr") == record(b"two stderr F", "stderr") + record(b"four", "stderr", "P")
    assert select_output(data, "stdout") == record(b"one") + record(b"a\rb stderr ")
    assert last_records(data, 1) == record(b"four", "stderr", "P")
    assert last_records(data, 2) == record(b"a\rb stderr ") + record(b"four", "stderr", "P")
    assert last_records(data, 99) == data
    assert last_records(b"", 3) == b""


@pytest.fixture
def tiny_volume(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a volume")
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a volume")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_refuses_and_loses_nothing(tiny_volume: Path) -> None:
    folder = LogFolder(tiny_volume / "logs", segment_bytes=64 * KIB)
    data = b"".join(record(random.Random(seed).randbytes(1000).replace(b"\n", b" ")) for seed in range(3000))

    def send(position: int) -> None:
        while position < len(data):
            stop = data.find(b"\n", min(position + 100_000, len(data) - 2)) + 1
            position = folder.append(LOG, position, data[position:stop]).size_bytes

    with pytest.raises(DiskFull):
        send(0)
    size = folder.state(LOG).size_bytes
    assert size > 0
    assert whole(folder) == data[:size]
    other = LogId(8, 0, 1, 0)
    with pytest.raises(DiskFull):
        folder.append(other, 0, data[: data.find(b"\n", 200_000) + 1])
    subprocess.run(["mount", "-o", "remount,size=8m", tiny_volume], check=True)
    folder.append(LOG, size, data[size:])
    assert whole(folder) == data


@pytest.mark.slow
def test_a_gigabyte_passes_through_in_bounded_memory(tmp_path: Path) -> None:
    """256 MiB here; the memory is that of a segment, so its length does not matter."""
    folder = LogFolder(tmp_path, head_bytes=16 * KIB * KIB, limit_bytes=64 * KIB * KIB)
    chunk = records(13_000)
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = 0
    while size < 256 * KIB * KIB:
        size = folder.append(LOG, size, chunk).size_bytes
    offset, read = 0, 0
    while (page := folder.read(LOG, offset, 1024 * KIB)).data:
        offset, read = page.next_offset, read + len(page.data)
    peak_after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (peak_after - peak_before) * KIB < 48 * KIB * KIB
    assert offset == size
    assert read <= 64 * KIB * KIB
    assert folder.state(LOG).dropped is not None
