"""The drive pipeline on a running platform, over two sites: what `make demo` shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.conftest import CHECKOUT, EXAMPLE
from tests.installation.conftest import Installation, installation, new_installation

Run = Callable[..., subprocess.CompletedProcess[str]]

__all__ = ["installation", "new_installation"]

SECONDS = 420
FOLDERS = {"dk": "denmark", "us": "california"}
PARTS = ("bushel.agent", "bushel.control", "bushel.api")


@pytest.fixture
def environment(installation: Installation, generated: Path, environment_of_the_stages: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUSHEL_")}
    return {**inherited, "BUSHEL_HOME": str(installation.home.path), "DRIVE_DATA": str(generated)}


def start(environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, EXAMPLE / "demo.py"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=CHECKOUT)


def finish(demo: subprocess.Popen[str]) -> str:
    said, _ = demo.communicate(timeout=SECONDS)
    assert demo.returncode == 0, said[-8000:]
    return said


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS + 60)
def test_recordings_become_a_data_set_over_two_sites_and_nothing_is_done_twice(
    installation: Installation, environment: dict[str, str], generated: Path
) -> None:
    """examples/drive_dataset/README.md: eight recordings, which are short, so those of each country are one partition."""
    said = finish(start(environment))
    assert f"real ones, in {generated} (DRIVE_DATA)" in said
    assert "NO " not in said
    for claim in ("nothing of a recording lies outside its country", "only statistics are released", "a network learns from it"):
        assert f"yes  {claim}" in said
    assert "2 of them taken over" in finish(start(environment))
    assert installation.run("dataset", "versions", "drive/training", "-o", "name").stdout.split() == ["drive/training@1"]


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(2 * SECONDS + 60)
def test_what_is_killed_on_the_way_changes_no_byte_of_what_is_published(
    installation: Installation, environment: dict[str, str], generated: Path, stage: Run, tmp_path: Path
) -> None:
    """Agents, controllers and API are killed while recordings are decoded; the bare script, undisturbed, makes the same files."""
    demo = start(environment)
    wait_for_parts(installation.home.path / "drive-demo" / "stored" / "dk" / "parts", demo)
    killed = kill_parts(installation.home.path)
    said = finish(demo)
    assert len(killed) >= 3, (killed, said)
    installation.run("dataset", "download", "drive/training", str(tmp_path / "platform"))
    for jurisdiction, folder in FOLDERS.items():
        bare = tmp_path / jurisdiction
        done = stage("drive_dataset.run_local", bare, generated, "--jurisdiction", jurisdiction, "--only", folder)
        assert done.returncode == 0, done.stderr
        version = (bare / "published" / "latest").resolve()
        published = tmp_path / "platform" / jurisdiction / "published" / version.name
        assert {path.name: path.read_bytes() for path in published.iterdir()} == {
            path.name: path.read_bytes() for path in version.iterdir()
        }


def wait_for_parts(folder: Path, demo: subprocess.Popen[str], at_least: int = 4) -> None:
    deadline = time.monotonic() + SECONDS
    while not folder.is_dir() or len(list(folder.iterdir())) < at_least:
        assert demo.poll() is None, (demo.stdout.read() if demo.stdout else "")[-8000:]
        assert time.monotonic() < deadline, "no part was written in time"
        time.sleep(0.1)


def kill_parts(home: Path) -> list[int]:
    """Those of this installation alone."""
    killed = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(part in words for part in PARTS) and any(str(home) in word for word in words):
            os.kill(int(process.name), signal.SIGKILL)
            killed.append(int(process.name))
    return killed
