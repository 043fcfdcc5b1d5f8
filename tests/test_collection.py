"""Tests of one name in two folders do not meet."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {file.parent for file in TESTS.rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]
