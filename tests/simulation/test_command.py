"""`bushel simulate`: the same words write the same bytes, and what is wrong is said in a line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = "arrival_s,queue,runtime_s,cpu,gpu,tasks,checkpoint_s\n" + "".join(
    f"{at * 40},team-{at % 3},{100 + at * 37 % 900},1,{1 + at % 2},{1 + at % 4},60\n" for at in range(40)
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "trace.csv"
    file.write_text(ROWS)
    return file


def simulate(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bushel.cli.main", "simulate", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_a_table_pictures_and_columns_are_the_same_bytes_twice(trace, tmp_path):
    told = []
    for number in range(2):
        folder = tmp_path / str(number)
        words = ["--nodes", "2xV100:4,1xV100:4:spot", "--node-failures", "4000", "--spot-reclaims", "3000", "--seed", "5"]
        made = simulate(
            trace, *words, "--policy", "default", "--policy", "eager:patience_seconds=0", "--figures", folder, "--parquet", folder
        )
        assert made.returncode == 0, made.stderr
        assert "eager" in made.stdout
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == [
            *("fragmentation.png", "jobs.parquet", "queues.parquet", "samples.parquet", "shares.png", "times.png", "use.png")
        ]
        told.append((made.stdout, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]))
    assert told[0] == told[1]


def test_records_for_programs(trace):
    made = simulate(trace, "--nodes", "2xV100:4", "--json", "--estimates")
    assert made.returncode == 0, made.stderr
    (record,) = json.loads(made.stdout)
    assert record["jobs"] == record["ended"] == 40
    assert "in their 80 % interval" in made.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--nodes", "none"),
        ("--nodes", "1x4c", "--policy", "a:b=1"),
        ("--nodes", "1x4c", "--policy", "a:reclaim=nope"),
        ("--nodes", "missing.csv"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(trace, words):
    made = simulate(trace, *words)
    assert made.returncode == 1
    assert made.stderr.startswith("bushel simulate: ")
    assert made.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("arrival_s,runtime_s,cpu\n1,2,1\n1,2,many\n", "row 2: cpu is a number, not 'many'"),
        ("arrival_s,runtime_s,memory_gb\n1,2,4\n", "Did you mean memory_gib?"),
        ("arrival,runtime\n1,2\n", "arrival_s and runtime_s"),
    ],
)
def test_what_is_wrong_in_a_trace_is_named(tmp_path, rows, named):
    file = tmp_path / "own.csv"
    file.write_text(rows)
    made = simulate(file, "--nodes", "1x4c")
    assert (made.returncode, made.stderr.count("\n")) == (1, 1)
    assert named in made.stderr


@pytest.mark.parametrize(
    "words", [("--node-failures", "0"), ("--spot-reclaims", "-1"), ("--seed", "x"), ("--jobs", "0"), ("--period", "nan")]
)
def test_a_number_that_cannot_be_meant_is_refused_by_its_flag(trace, words):
    made = simulate(trace, "--nodes", "1xV100:4", *words)
    assert made.returncode == 2
    assert made.stderr.startswith(f"bushel simulate: {words[0]}: ")
    assert repr(words[1]) in made.stderr


def test_jobs_that_no_node_can_hold_are_said(trace):
    made = simulate(trace, "--nodes", "1xV100:1")
    assert made.returncode == 0, made.stderr
    assert "jobs never began" in made.stderr
