"""The drive stages in their own environment: the platform's stays free of what only they need."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples" / "drive_dataset"
PROBES = Path(__file__).parent / "probes"
SECONDS = 110
INSTALL_SECONDS = 600

Probe = Callable[..., Any]


def drive_data() -> Path | None:
    """The folder of real recordings: DRIVE_DATA, else `shared/drive-data` beside the checkout, else none."""
    named = os.environ.get("DRIVE_DATA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "drive-data"
    if named and not folder.is_dir():
        raise pytest.UsageError(f"DRIVE_DATA={named} is no folder")
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session", autouse=True)
def _say_what_is_tried(request: pytest.FixtureRequest) -> None:
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        folder = drive_data()
        said = f"real recordings in {folder}" if folder else "no real recordings (DRIVE_DATA): only generated drives are tried"
        reporter.write_line(f"\ndrive pipeline: {said}")


@pytest.fixture(scope="session")
def environment_of_the_stages() -> Path:
    """Made on first use from the package cache; afterwards it is there."""
    subprocess.run([EXAMPLE / "python", "-c", ""], check=True, timeout=INSTALL_SECONDS, capture_output=True)
    return EXAMPLE / "python"


@pytest.fixture(scope="session")
def probe(environment_of_the_stages: Path) -> Probe:
    """Run a program of `probes/` and take its answer."""

    def run(name: str, *words: str | Path) -> Any:
        command = [environment_of_the_stages, PROBES / f"{name}.py", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def stage(environment_of_the_stages: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`python -m drive_dataset …` as a person runs it."""

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [environment_of_the_stages, "-m", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)

    return run


@pytest.fixture(scope="session")
def recordings() -> Path:
    folder = drive_data()
    if folder is None:
        pytest.skip("no real recordings here: name their folder in DRIVE_DATA")
    return folder


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., subprocess.CompletedProcess[str]]) -> Path:
    """Four drives that never happened, in every format, with what is true of them in `truth/`."""
    folder = tmp_path_factory.mktemp("generated")
    made = stage("drive_dataset.generate", folder)
    assert made.returncode == 0, made.stderr
    return folder
