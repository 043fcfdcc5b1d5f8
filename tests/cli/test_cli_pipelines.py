"""docs/tutorial/pipeline.md and docs/guides/pipelines.md against a running Bushel."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from bushel.cli.pipeline_views import grid_lines
from bushel.cli.session import Session
from tests.running_bushel import RunningBushel

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "pipeline.md"


def test_the_tutorial_does_what_it_says(running: RunningBushel, tmp_path: Path) -> None:
    written = re.search(r"```yaml\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    assert written
    document = tmp_path / "words.yaml"
    document.write_text(written[1])
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in (("hamlet", "to be or not to be\n"), ("ishmael", "call me\n"), ("empty", "")):
        (texts / name).write_text(text)

    ran = running.run("pipeline", "plan", "words.yaml", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("words is new in home/main/main\n")
    ran = running.run("pipeline", "apply", "words.yaml", "--run", "--wait", cwd=tmp_path)
    assert ran.code == 100, ran.err
    assert "1 of 3 partitions of check failed; the first: exit code 65" in ran.out
    assert running.run("pipeline", "partitions", "words", "check", "--state", "failed", "-o", "name").out == "empty\n"
    failed = json.loads(running.run("pipeline", "partitions", "words", "check", "--state", "failed", "-o", "json").out)
    assert "no words in it" in running.run("logs", failed["items"][0]["attempt"]).out
    ran = running.run("pipeline", "why-run", "words", "check", "empty")
    assert "no earlier run has a result of check for empty" in ran.out

    document.write_text(document.read_text().replace("exit 65", "exit 0"))
    ran = running.run("pipeline", "plan", "words.yaml", cwd=tmp_path)
    assert "it would be version 2 of words" in ran.out
    assert "stages.check.run" in ran.out
    assert "workdir" not in ran.out, "the document itself is no part of the code"
    assert running.run("pipeline", "apply", "words.yaml", cwd=tmp_path).code == 0
    ran = running.run("pipeline", "rerun", "words", "--failed", "--wait")
    assert ran.code == 0, ran.err
    assert re.search(r"check .*3 done  2 of them taken over", ran.out), ran.out
    assert re.search(r"report .*1 done", ran.out), ran.out
    assert running.run("pipeline", "ls", "words", "-o", "name").out == "2\n1\n"
    assert running.run("pipeline", "grid", "words").out.startswith("find    █")


def test_what_is_misspelt_is_answered_with_what_there_is(running: RunningBushel, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: guesses\npartitions: {discovered_by: fin}\nstages:\n  find: {once: true, run: 'true'}\n")
    assert "there is no stage fin. Did you mean find?" in running.run("pipeline", "plan", "p.yaml", cwd=tmp_path).err
    (tmp_path / "p.yaml").write_text("name: guesses\nstages:\n  find: {run: 'exit 3'}\n")
    ran = running.run("pipeline", "apply", "p.yaml", "--run", "--wait", cwd=tmp_path)
    assert ran.code == 100, ran.err
    assert "there is no stage fnd. Did you mean find?" in running.run("pipeline", "rerun", "guesses", "--from", "fnd").err
    assert "bushel pipeline ls guesses" in running.run("pipeline", "get", "guesses", "--run", "9").err
    missing = running.run("pipeline", "plan", "missing.yaml", cwd=tmp_path)
    assert "no such file" in missing.err
    assert "put --" not in missing.err, "a pipeline is no command"


def test_a_wrong_field_is_shown_where_it_stands(running: RunningBushel, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: p\nstages:\n  a:\n    run: 'true'\n    aftr: b\n")
    ran = running.run("pipeline", "apply", "p.yaml", cwd=tmp_path)
    assert ran.code == 2
    assert "See docs/reference/pipeline.md#stages, or: bushel schema pipeline" in ran.err
    assert "p.yaml:5: stages.a.aftr: unknown field. Did you mean `after`?\n  5 │     aftr: b" in ran.err


def test_pause_resume_and_cancel(running: RunningBushel, tmp_path: Path) -> None:
    stages = "stages:\n  a: {run: sleep 300, resources: {cpu: 0.1, memory: 32MiB}}\n"
    (tmp_path / "p.yaml").write_text("name: sleepers\npartitions: [a, b]\n" + stages)
    assert running.run("pipeline", "apply", "p.yaml", "--run", cwd=tmp_path).code == 0
    assert "run 1 of sleepers paused" in running.run("pipeline", "pause", "sleepers").err
    assert json.loads(running.run("pipeline", "get", "sleepers", "-o", "json").out)["paused"]
    assert running.run("pipeline", "resume", "sleepers").code == 0
    assert running.run("pipeline", "cancel", "sleepers", "--message", "enough").code == 0
    ran = running.run("pipeline", "get", "sleepers", "-w")
    assert ran.code == 103
    assert "enough" in ran.out
    assert running.run("pipeline", "get", "nothing").code == 5


def test_a_pipeline_in_python(running: RunningBushel, tmp_path: Path) -> None:
    (tmp_path / "greetings.py").write_text(
        "from bushel.pipelines import Pipeline, Task\n"
        f"hello = Pipeline('hello', discovered_by='names', python={sys.executable!r},\n"
        "                 defaults={'workdir': '.', 'resources': {'cpu': 0.5, 'memory': '128MiB'}})\n"
        "@hello.stage(once=True)\n"
        "def names(task: Task):\n    return ['ada', 'grace']\n"
        "@hello.stage(after='names')\n"
        "def greet(task: Task):\n    print('hello', task.partition)\n    return {'outputs': {'x': {'digest': task.partition}}}\n"
    )
    ran = running.run("pipeline", "apply", "greetings:hello", "--run", "--wait", cwd=tmp_path)
    assert ran.code == 0, ran.out + ran.err
    run = json.loads(running.run("pipeline", "get", "hello", "-o", "json").out)
    jobs = {stage["name"]: stage["jobs"][0] for stage in run["stages"]}
    assert running.run("logs", jobs["greet"], "--index", "1").out == "hello grace\n"


def test_a_grid_of_any_size_is_a_line_for_a_stage() -> None:
    session = Session(argparse.Namespace())
    cells = (
        [[1250, 0, 0, 0, 0, 0]] * 40
        + [[1249, 1, 0, 0, 0, 0], [600, 0, 0, 10, 5, 635], [0, 0, 0, 3, 1247, 0]]
        + [[0, 0, 0, 0, 0, 1250]] * 37
    )
    lines = list(grid_lines({"rows": [{"stage": "decode", "partitions": 100_000, "cells": cells, "taken_over": []}]}, session))
    assert lines[0] == "decode  " + "█" * 40 + "×" + "▒" + "▶" + "·" * 37 + "  100,000, up to 1,250 a cell"
