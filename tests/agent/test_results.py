"""docs/reference/pipeline.md#what-a-task-is-told: what a task leaves of what it came to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bushel.agent.executors.local.results import BODY_LIMIT_BYTES, BadResult, task_result
from bushel.control.stage_endings import unpack_names


def test_a_task_that_leaves_nothing_has_no_result(tmp_path: Path) -> None:
    assert task_result(str(tmp_path)) is None


def test_results_and_lists_come_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "result").write_text('{"outputs": {"x": {"digest": "1"}}}')
    (tmp_path / "partitions").write_text('a b\n\n{"name": "c", "site": "cn"}\n"d"\n')
    result = task_result(str(tmp_path))
    assert result is not None
    assert result["body"] == {"outputs": {"x": {"digest": "1"}}}
    assert [(one["name"], one["site"]) for one in unpack_names(result["names"])] == [("a b", None), ("c", "cn"), ("d", None)]


def test_a_hundred_thousand_names_can_be_listed(tmp_path: Path) -> None:
    (tmp_path / "partitions").write_text("".join(f"{os.urandom(8).hex()}\n" for _ in range(100_000)))
    result = task_result(str(tmp_path))
    assert result is not None
    assert len(unpack_names(result["names"])) == 100_000


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"x": "' + "x" * BODY_LIMIT_BYTES + '"}'])
def test_what_cannot_be_kept_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "result").write_text(text)
    with pytest.raises(BadResult, match="BUSHEL_RESULT_FILE"):
        task_result(str(tmp_path))


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "result").symlink_to("/etc/hostname")
    with pytest.raises(BadResult, match="cannot be read"):
        task_result(str(tmp_path))


def test_a_list_that_unfolds_without_end_is_refused() -> None:
    import zlib
    from base64 import b64encode

    from bushel.domain.errors import Conflict

    bomb = b64encode(zlib.compress(b"x\n" * 40_000_000)).decode()
    with pytest.raises(Conflict, match="too long"):
        unpack_names(bomb)
