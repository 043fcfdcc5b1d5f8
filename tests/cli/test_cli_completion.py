"""Completion scripts know every command and option, and the shell takes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bushel.cli.catalogue import catalogue
from bushel.cli.completion import bash, fish, zsh
from bushel.cli.reference import page
from tests.running_bushel import RunningBushel

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "bushel.bash"
    path.write_text(bash(list(catalogue())))
    return path


def complete(script: Path, words: list[str], environment: dict[str, str] | None = None) -> list[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    program = f"bushel() {{ '{sys.executable}' -m bushel.cli.main \"$@\"; }}\nsource '{script}'\n"
    program += f'COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _bushel; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bushel", "sub"], ["submit"]),
        (["bushel", "queue", "g"], ["get"]),
        (["bushel", "ls", "--state", "run"], ["running"]),
        (["bushel", "ls", "-o", "js"], ["json", "jsonl"]),
        (["bushel", "cancel", "--ind"], ["--index"]),
        (["bushel", "principal", "add", "--ki"], []),
        (["bushel", "completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes(script: Path, words: list[str], expected: list[str]) -> None:
    assert complete(script, words) == expected


def test_bash_asks_for_ids_of_jobs(script: Path, running: RunningBushel) -> None:
    job = running.submit("--hold", "--", "true")
    assert complete(script, ["bushel", "get", job[:4]], running.environment()) == [job]


def test_every_command_and_option_is_in_every_script() -> None:
    items = list(catalogue())
    for make in (bash, zsh, fish):
        script = make(items)
        for item in items:
            assert item.name.split()[-1] in script
            for action in item.options:
                flags = [flag for flag in action.option_strings if flag.startswith("--")]
                assert all((flag if make is not fish else f"-l {flag[2:]}") in script for flag in flags), (item.name, flags)


def test_the_reference_page_is_that_of_these_commands() -> None:
    """make it with: python -m bushel.cli.reference > docs/reference/cli.md"""
    assert (ROOT / "docs" / "reference" / "cli.md").read_text() == page()


def test_every_option_says_what_it_is() -> None:
    silent = [
        (item.name, action.dest)
        for item in catalogue()
        for action in item.options
        if not action.help and str(action.metavar) not in ("QUEUE", "NAME", "PATH", "TIME", "N", "CLUSTER", "KEY=VALUE", "SITE", "URL")
    ]
    assert not silent
