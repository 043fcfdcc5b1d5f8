"""Starting the command line costs little more than the interpreter: what a command does not need is not imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running_bushel import RunningBushel

HEAVY = {
    "asyncio",
    "dataclasses",
    "email",
    "hashlib",
    "http.client",
    "inspect",
    "logging",
    "pathlib",
    "pydantic",
    "random",
    "ssl",
    "subprocess",
    "tarfile",
    "tempfile",
    "threading",
    "typing",
    "typing_extensions",
    "urllib.parse",
    "yaml",
}

PROGRAM = """
import atexit, sys
@atexit.register
def tell():
    sys.stderr.write("MODULES " + " ".join(sys.modules))
from bushel.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def imported(*arguments: str, environment: dict[str, str] | None = None) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**(environment or {}), "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["ls", "--help"], ["queue", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not imported(*arguments) & HEAVY


def test_the_overview_imports_no_network_and_no_parser() -> None:
    assert not imported("--help") & {"argparse", "json", "re", "socket"}


def test_a_list_imports_what_it_takes_to_ask_and_show(running: RunningBushel) -> None:
    modules = imported("ls", environment=running.environment())
    assert not modules & HEAVY
    assert not {name for name in modules if name.startswith(("bushel.domain", "bushel.spec", "bushel.api", "bushel.store"))}


def test_a_job_from_flags_is_submitted_without_a_parser_of_yaml(running: RunningBushel) -> None:
    assert not imported("submit", "--hold", "-o", "name", "--", "true", environment=running.environment()) & (HEAVY - {"shlex"})
