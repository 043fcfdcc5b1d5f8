"""Workdir archives: good ones arrive as they were packed, hostile ones touch nothing and say why."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bushel.agent.archive import BadArchive, unpack
from tests.agent.conftest import AgentProcess, ControlPlane, digest_of


def _pack(*entries: tuple[str, bytes | None, dict[str, object]], mode: str = "w:gz") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data, attributes in entries:
            entry = tarfile.TarInfo(name)
            for attribute, value in attributes.items():
                setattr(entry, attribute, value)
            if data is not None:
                entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data or b""))
    return content.getvalue()


def test_each_task_works_in_its_own_copy(plane: ControlPlane, agent: AgentProcess) -> None:
    archive = _pack(("run.sh", b"#!/bin/sh\ncat data/x; echo changed > data/x; cat link\n", {"mode": 0o755}), ("data/x", b"original\n", {}))
    archive = _pack(
        ("run.sh", b"#!/bin/sh\ncat data/x; echo changed > data/x; cat link\n", {"mode": 0o755}),
        ("data/x", b"original\n", {}),
        ("link", None, {"type": tarfile.SYMTYPE, "linkname": "data/x"}),
    )
    plane.blobs[digest_of(archive)] = archive
    for number in range(3):
        plane.want(f"aaaaa.{number}.1", ["./run.sh"], workdir=digest_of(archive))
    for number in range(3):
        assert plane.ended(f"aaaaa.{number}.1")["exit_code"] == 0
        assert plane.output(f"aaaaa.{number}.1") == b"original\nchanged\n"


def test_a_workdir_that_is_gone_or_damaged_says_so(plane: ControlPlane, agent: AgentProcess) -> None:
    plane.want("aaaaa.0.1", "true", workdir=digest_of(b"nobody has this"))
    task = plane.ended("aaaaa.0.1")
    assert task["reason"] == "workdir_failed"
    assert "not stored any more" in task["message"]
    damaged = _pack(("x", b"1" * 100_000, {}))[:-60]
    plane.blobs[digest_of(damaged)] = damaged
    plane.want("bbbbb.0.1", "true", workdir=digest_of(damaged))
    task = plane.ended("bbbbb.0.1")
    assert task["reason"] == "workdir_failed"
    assert "damaged" in task["message"]


HOSTILE: dict[str, tuple[tuple[str, bytes | None, dict[str, object]], ...]] = {
    "parent": (("../evil", b"x", {}),),
    "parent inside": (("a/../../evil", b"x", {}),),
    "absolute": (("/tmp/evil", b"x", {}),),
    "link out": (("link", None, {"type": tarfile.SYMTYPE, "linkname": "../outside"}),),
    "absolute link": (("link", None, {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),),
    "write through a link": (("d", None, {"type": tarfile.SYMTYPE, "linkname": "e"}), ("d/evil", b"x", {})),
    "hard link out": (("link", None, {"type": tarfile.LNKTYPE, "linkname": "../outside"}),),
    "hard link to nothing": (("link", None, {"type": tarfile.LNKTYPE, "linkname": "missing"}),),
    "device": (("null", None, {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),),
    "pipe": (("pipe", None, {"type": tarfile.FIFOTYPE}),),
    "twice": (("x", b"1", {}), ("x", b"2", {})),
    "file as a folder": (("x", b"1", {}), ("x/y", b"2", {})),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_writes_nothing_outside(name: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("safe")
    target = tmp_path / "work"
    target.mkdir()
    archive = tmp_path / "archive"
    archive.write_bytes(_pack(*HOSTILE[name]))
    with pytest.raises((BadArchive, OSError)):
        unpack(str(archive), str(target))
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "work", "archive"}
    assert (tmp_path / "outside").read_text() == "safe"


def test_bombs_are_stopped_while_they_grow(tmp_path: Path) -> None:
    target = tmp_path / "work"
    target.mkdir()
    archive = tmp_path / "archive"
    archive.write_bytes(_pack(("zeros", b"\0" * 5_000_000, {})))
    with pytest.raises(BadArchive, match="larger than the limit"):
        unpack(str(archive), str(target), size_limit_bytes=1_000_000)
    archive.write_bytes(_pack(*((f"f{number}", b"", {}) for number in range(100))))
    with pytest.raises(BadArchive, match="more than 50 entries"):
        unpack(str(archive), str(target), entries_limit=50)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08" + b"\0" * 50, b"\xfd7zXZ\0" + b"\1" * 50])
def test_what_is_no_archive_is_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(BadArchive):
        unpack(str(tmp_path / "archive"), str(tmp_path / "work"))


def test_set_uid_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "archive").write_bytes(_pack(("x", b"1", {"mode": 0o6777})))
    unpack(str(tmp_path / "archive"), str(tmp_path / "work"))
    assert (tmp_path / "work" / "x").stat().st_mode & 0o7777 == 0o755


def test_an_archive_is_fetched_once(plane: ControlPlane, new_agent: Callable[..., AgentProcess]) -> None:
    archive = _pack(("x", b"1", {}))
    plane.blobs[digest_of(archive)] = archive
    agent = new_agent().start().wait_registered()
    plane.want("aaaaa.0.1", "cat x", workdir=digest_of(archive))
    assert plane.ended("aaaaa.0.1")["exit_code"] == 0
    plane.blobs.clear()
    plane.want("aaaaa.1.1", "cat x", workdir=digest_of(archive))
    assert plane.ended("aaaaa.1.1")["exit_code"] == 0
    assert len(list((agent.state / "cache").iterdir())) == 1
