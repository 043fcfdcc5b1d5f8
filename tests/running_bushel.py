"""A whole Bushel on this machine, started the way people start it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 60
PROJECT = "home/main/main"


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class RunningBushel:
    """An installation with a home of its own."""

    home: Path

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BUSHEL_") and name not in ("COLUMNS", "NO_COLOR")}
        return {**kept, "BUSHEL_HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / "config"), "BUSHEL_PROJECT": PROJECT, **changes}

    def run(self, *arguments: str, stdin: str | None = None, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Ran:
        """`bushel …`, as a process of its own."""
        return run_bushel(*arguments, stdin=stdin, cwd=cwd, environment=self.environment(**(environment or {})))

    def submit(self, *arguments: str) -> str:
        """The id of a job submitted with these arguments."""
        ran = self.run("submit", "-o", "name", *arguments)
        assert ran.code == 0, ran.err
        return ran.out.strip()


def run_bushel(*arguments: str, stdin: str | None = None, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Ran:
    done = subprocess.run(
        [sys.executable, "-m", "bushel.cli.main", *arguments],
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        cwd=cwd,
        env=dict(environment) if environment is not None else None,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def running() -> Iterator[RunningBushel]:
    """Up when a test first asks, down after the last."""
    with tempfile.TemporaryDirectory(prefix="bushel-running-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        bushel = RunningBushel(Path(folder) / "home")
        up = bushel.run("up", "--port", "0")
        try:
            assert up.code == 0, up.err
            yield bushel
        finally:
            bushel.run("down", "--stop-tasks")
