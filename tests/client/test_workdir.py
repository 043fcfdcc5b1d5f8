"""Archives of working folders depend on their content alone, and hold nothing that they should not."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from bushel.client.workdir import pack
from bushel.domain.errors import InvalidDocument, TooLarge


def names(folder: Path) -> list[str]:
    with pack(str(folder)).file as file, tarfile.open(fileobj=file) as tar:
        return tar.getnames()


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_same_content_has_the_same_digest(tmp_path: Path) -> None:
    for copy, order in (("a", ("x", "y/z")), ("b", ("y/z", "x"))):
        for name in order:
            write(tmp_path / copy / name, name)
    os.utime(tmp_path / "b" / "x", (1, 1))
    (tmp_path / "b" / "x").chmod(0o600)
    assert pack(str(tmp_path / "a")).digest == pack(str(tmp_path / "b")).digest
    (tmp_path / "b" / "x").chmod(0o755)
    assert pack(str(tmp_path / "a")).digest != pack(str(tmp_path / "b")).digest


def test_what_git_ignores_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / ".gitignore", "*.log\n!keep.log\n/build/\nnode_modules\n# comment\n\n\\#odd\n")
    write(tmp_path / "sub" / ".gitignore", "!special.log\nlocal\n")
    kept = ["keep.log", "main.py", "sub/special.log", "sub/build/x", "local"]
    left_out = ["a.log", "build/x", "deep/node_modules/x", "sub/local", "#odd", ".git/config", "sub/.git"]
    for name in kept + left_out:
        write(tmp_path / name)
    found = {name for name in names(tmp_path) if not (tmp_path / name).is_dir()}
    assert found == {*kept, ".gitignore", "sub/.gitignore"}


def test_what_git_keeps_and_no_task_needs_is_left_out_too(tmp_path: Path) -> None:
    """docs/guides/submit.md"""
    write(tmp_path / ".gitignore", "*.csv\n")
    write(tmp_path / ".bushelignore", "/README.md\n!small.csv\n")
    for name in ("README.md", "sub/README.md", "small.csv", "large.csv", "main.py"):
        write(tmp_path / name)
    found = {name for name in names(tmp_path) if not (tmp_path / name).is_dir()}
    assert found == {".gitignore", ".bushelignore", "sub/README.md", "small.csv", "main.py"}


def test_git_itself_agrees(tmp_path: Path) -> None:
    write(tmp_path / ".gitignore", "**/cache\n*.py[co]\ndata/*\n!data/small.csv\nfoo/**/bar\n")
    for name in ("cache/a", "x/cache/b", "m.py", "m.pyc", "data/large.csv", "data/small.csv", "foo/bar", "foo/x/y/bar", "foo/baz"):
        write(tmp_path / name)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    listed = subprocess.run(
        ["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    ).stdout.split()
    assert {name for name in names(tmp_path) if not (tmp_path / name).is_dir()} == set(listed)


def test_links_stay_inside(tmp_path: Path) -> None:
    write(tmp_path / "in" / "real")
    (tmp_path / "in" / "link").symlink_to("real")
    assert names(tmp_path / "in") == ["link", "real"]
    (tmp_path / "in" / "out").symlink_to("../secret")
    with pytest.raises(InvalidDocument, match=r"out .*is a link to \.\./secret, outside of the folder"):
        pack(str(tmp_path / "in"))


def test_pipes_and_sockets_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == []


def test_a_folder_past_the_limit_names_its_largest_files(tmp_path: Path) -> None:
    write(tmp_path / "small", "x")
    write(tmp_path / "data" / "large", "x" * 3000)
    with pytest.raises(TooLarge, match=r"2\.9 KiB.*data/large \(2\.9 KiB\)") as raised:
        pack(str(tmp_path), most_bytes=1000)
    assert ".gitignore" in str(raised.value.suggestion)
    with pytest.raises(TooLarge, match="Most lie in"):
        pack(str(tmp_path), most_files=1)


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="is not a folder"):
        pack(str(tmp_path / "missing"))
