"""The demo: the first thing that anybody sees."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.installation.conftest import Installation

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "demo.py"


def test_the_demo_does_what_it_says_twice_and_leaves_the_platform_usable(installation: Installation) -> None:
    """README.md"""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUSHEL_")}
    environment = {**inherited, "BUSHEL_HOME": str(installation.home.path)}
    said = ""
    for _ in range(2):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, DEMO], capture_output=True, text=True, timeout=110, env=environment, cwd=DEMO.parents[2], check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + installation.logs()
        assert time.monotonic() - began < 60
        said = done.stdout
    assert "yes  both sites took part" in said
    assert installation.run("run", "--", "echo", "usable").stdout.splitlines()[-1] == "usable"
