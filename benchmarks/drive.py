"""What the platform costs beside the work: decoding and sharding of drive recordings as stages of a pipeline, and as a bare script.

Both run the same functions of `examples/drive_dataset` on the recordings in DRIVE_DATA, else on drives that are made up. The script is
started once for each stage and country, one after another and alone on the machine; the pipeline is that of `make demo`, over two sites.
Each side pays for its interpreters and libraries, which is most of what short recordings take.

- By CPU: what all tasks of a stage used, against what the script used for the same recordings. The platform's own processes are not in it.
- By the clock: the time during which any task of the stage ran, against the script's. Tasks of a stage may run beside each other, as many
  as there are cores and groups of recordings; and those of other stages, the platform and the database run beside them, which the script
  is spared. The script works on one recording at a time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.installation import Installation, new_home
from benchmarks.report import Report, parse

CHECKOUT = Path(__file__).parents[1]
EXAMPLE = CHECKOUT / "examples" / "drive_dataset"
TIMEOUT_SECONDS = 900
STAGES = ("decode", "shard")

_TAKEN = """
    with stages as (
        select s.name, range_agg(tstzrange(a.started_at, a.ended_at)) as ran, sum((a.usage ->> 'cpu_seconds')::float8) as cpu,
               count(*) as tasks
        from attempts a join stage_jobs j on j.job_id = a.job_id join run_stages s on s.id = j.stage_id
        group by s.name
    )
    select name, (select sum(extract(epoch from upper(r) - lower(r))) from unnest(ran) r)::float8 as seconds, cpu, tasks from stages
"""


def stage_python(*words: str | Path) -> str:
    done = subprocess.run([EXAMPLE / "python", *words], check=True, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS)
    return done.stdout


def bare(data: Path, folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds by the clock and of CPU of each stage, for all countries."""
    dealt: dict[str, list[str]] = json.loads(stage_python("-m", "drive_dataset.deal", data).splitlines()[-1])
    python = stage_python("-c", "import sys; print(sys.executable)").strip()
    us = [name for code, folders in dealt.items() if code != "dk" for name in folders]
    total: dict[str, tuple[float, float]] = dict.fromkeys(STAGES, (0.0, 0.0))
    for code, folders in {"dk": dealt.get("dk", []), "us": us}.items():
        if not folders:
            continue
        only = [word for name in folders for word in ("--only", name)]
        stage_python("-m", "drive_dataset.run_local", folder / code, data, "--jurisdiction", code, *only)
        for stage in STAGES:  # once more, alone: what the others left is there
            began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            words = [python, "-m", "drive_dataset", stage, folder / code]
            subprocess.run(words, check=True, cwd=EXAMPLE, timeout=TIMEOUT_SECONDS, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            total[stage] = (total[stage][0] + time.monotonic() - began, total[stage][1] + cpu)
    return total


def pipeline(installation: Installation, data: Path) -> dict[str, tuple[float, float, int]]:
    """The seconds during which any task of a stage ran, the CPU of all of them, and how many there were."""
    environment = {**installation.environment, "DRIVE_DATA": str(data)}
    demo = [sys.executable, EXAMPLE / "demo.py"]
    done = subprocess.run(demo, check=False, capture_output=True, text=True, env=environment, cwd=CHECKOUT, timeout=TIMEOUT_SECONDS)
    if done.returncode:
        raise RuntimeError(f"the demo ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-500:]}")
    with psycopg.connect(installation.database_url()) as connection:
        return {name: (seconds, cpu or 0.0, tasks) for name, seconds, cpu, tasks in connection.execute(_TAKEN)}


def measure(report: Report) -> None:
    with new_home() as installation, tempfile.TemporaryDirectory(prefix="bench-drive-", dir="/var/tmp") as made:
        folder = Path(made)
        data = Path(os.environ.get("DRIVE_DATA") or folder / "drives").resolve()
        if not data.is_dir():
            stage_python("-m", "drive_dataset.generate", data)
        installation.run("up", "--port", "0")
        try:
            script, tasks = bare(data, folder), pipeline(installation, data)
        finally:
            installation.run("down", "--stop-tasks")
    for stage, (seconds, cpu) in script.items():
        own = tasks[stage]
        report.add(f"{stage}, {own[2]} tasks, by the clock", own[0], "s", "script", seconds)
        report.add(f"{stage}, speed of the script's", seconds / own[0] * 100, "%", "must", 60)
        report.add(f"{stage}, of CPU", own[1], "s", "script", cpu)
        report.add(f"{stage}, speed of the script's by CPU", cpu / own[1] * 100, "%", "must", 60)


if __name__ == "__main__":
    options = parse(__doc__ or "")
    report = Report()
    measure(report)
    report.finish(options.json)
