"""Folders of small tasks are used again, and nobody can tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bushel.agent.executors.local import folder
from bushel.agent.executors.local.spares import Spares
from tests.agent.conftest import AgentProcess, ControlPlane, text_of, wait_for


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "spares").mkdir()
    return tmp_path / "tasks"


def ended(tasks: Path, key: str) -> Path:
    """A task that printed nothing and left nothing."""
    path = tasks / key
    path.mkdir(folder.FOLDER_MODE)
    folder.reserve(f"{path}/{folder.STOP}")
    (path / folder.WORK).mkdir(folder.WORK_MODE)
    lock = folder.claim(str(path), {"mark": key})
    assert lock is not None
    folder.finish(lock, {"exit_code": 0})
    os.close(lock)
    return path


def spares_of(tasks: Path) -> Spares:
    return Spares(str(tasks), str(tasks.parent / "spares"), 1)


def clear(spares: Spares, key: str) -> None:
    for path, lock in spares.put_aside([key]):
        spares.clear(path, lock)


def test_a_folder_that_is_as_it_was_made_is_used_again(tasks: Path) -> None:
    spares = spares_of(tasks)
    path = ended(tasks, "old")
    inode = path.stat().st_ino
    clear(spares, "old")
    assert list(tasks.iterdir()) == []
    assert spares.take("new")
    assert (tasks / "new").stat().st_ino == inode
    assert folder.read_record(str(tasks / "new")) == (None, None, False)
    assert not spares.take("another")


@pytest.mark.parametrize("change", ["file in work", "file beside", "stop", "rights of work", "rights of all", "link", "locked"])
def test_any_other_is_deleted(tasks: Path, change: str) -> None:
    spares = spares_of(tasks)
    path = ended(tasks, "old")
    holder = None
    match change:
        case "file in work":
            (path / folder.WORK / ".hidden").touch()
        case "file beside":
            (path / folder.PROGRESS).touch()
        case "stop":
            folder.replace(f"{path}/{folder.STOP}", {"reason": "preempted", "grace_seconds": 1})
        case "rights of work":
            (path / folder.WORK).chmod(0o777)
        case "rights of all":
            path.chmod(0o777)
        case "link":
            (path / folder.WORK).rmdir()
            (path / folder.WORK).symlink_to(tasks.parent)
        case "locked":
            holder = folder.lock_record(str(path))
    clear(spares, "old")
    assert not spares.take("new")
    assert list(tasks.iterdir()) == []
    assert list((tasks.parent / "spares").iterdir()) == []
    if holder is not None:
        os.close(holder)


def test_a_late_copy_of_a_request_does_not_start_in_a_folder_that_is_anothers(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has opened the record, and is then overtaken by the end of its task and by the next one."""
    spares = spares_of(tasks)
    path = ended(tasks, "old")
    opened = os.open

    def open_late(name: str, *arguments: int) -> int:
        descriptor = opened(name, *arguments)
        if name == f"{path}/{folder.RECORD}":
            monkeypatch.undo()
            clear(spares, "old")
            assert spares.take("new")
        return descriptor

    monkeypatch.setattr(os, "open", open_late)
    with pytest.raises(FileNotFoundError):
        folder.claim(str(path), {"mark": "old"})
    assert folder.read_record(str(tasks / "new")) == (None, None, False)


def test_no_task_sees_another_in_its_folder(plane: ControlPlane, agent: AgentProcess) -> None:
    for number in range(6):
        id = plane.want(f"aaaaa.{number}.1", ["true"] if number % 2 else "ls -A; touch left")
        assert plane.ended(id)["exit_code"] == 0
        wait_for(lambda: not list((agent.state / "tasks").iterdir()), "the task to be forgotten")
    assert text_of(b"".join(plane.logs.values()), "stdout") == b""
