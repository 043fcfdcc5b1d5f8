"""Bushel at work on this machine: two sites, real jobs, what becomes of them. Started by `make demo`.

Guarantees: it uses the installation in BUSHEL_HOME (by default the one that `bushel` uses anyway) and leaves it running;
run again it does the same again; it ends with 0 exactly when every job did what it should.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
BUSHEL = [sys.executable, "-P", "-m", "bushel.cli.main"]
PRIMES = "283,146"  # below 4,000,000 (OEIS A006880 counts the like)
SECONDS = "60s"
FAILED, CONFLICT = 100, 6  # exit codes


def main() -> int:
    began = time.monotonic()
    chapter("Start the platform, and pose as a second site")
    show("up")
    second_site()
    show("node", "ls")

    with tempfile.TemporaryDirectory(prefix="bushel-demo-") as results:
        Path(results).chmod(0o755)
        chapter("Submit: an array and what comes after it, a gang, a job in two sittings, one that fails, one that must wait")
        jobs = submit(results)
        show("ls", "--limit", "6")
        chapter("Follow them")
        show("wait", "--timeout", SECONDS, jobs["primes"], jobs["merge"], jobs["gang"], jobs["checkpoint"])
        show("wait", "--timeout", SECONDS, jobs["broken"], expect=FAILED)
        right = results_are_right(jobs)

    chapter("Understand: a failure, and why one waits")
    show("describe", jobs["broken"])
    show("explain", jobs["impossible"])
    show("cancel", jobs["impossible"])

    chapter(f"Done in {time.monotonic() - began:.0f} s. Bushel runs on; try next")
    bushel = "bushel" if in_path() else os.path.relpath(Path(sys.executable).with_name("bushel"))
    for words, why in (
        ("run -- echo hello", "your first job"),
        (f"describe {jobs['checkpoint']}", "the story of the job in two sittings"),
        (f"logs {jobs['gang']}", "what the gang said, rank by rank"),
        ("submit --array 0-99 -- 'sleep 1; echo $BUSHEL_TASK_INDEX'", "a hundred tasks in one row"),
        ("top", "what runs now"),
        ("down", "stops the platform, not your jobs"),
    ):
        print(f"  {bushel} {words:<62} {why}")
    print("  docs/tutorial/first-job.md" + " " * (len(bushel) + 37) + " a script of your own, and the plug pulled", flush=True)
    return 0 if right else 1


def second_site() -> None:
    """Pose as a cluster of the site `east`, unless one is there. The names of removed clusters stay taken."""
    clusters = json.loads(ask("cluster", "ls", "-o", "json"))["items"]
    if not any(cluster["site"] == "east" for cluster in clusters):
        pose = ["--nodes", "4", "--cpu", "2", "--memory", "4GiB", "--topology", "rack=r1,r2"]
        names = (f"east-{number}" for number in range(1, 100))
        next(name for name in names if show("cluster", "add", name, "--site", "east", *pose, expect=(0, CONFLICT)) == 0)


def submit(results: str) -> dict[str, str]:
    """The id of each job, by the name of its file."""
    jobs: dict[str, str] = {}
    for name in ("primes", "merge", "gang", "checkpoint", "broken", "impossible"):
        words = ["submit", str((HERE / f"{name}.yaml").relative_to(Path.cwd())), "-o", "name", "--env", f"RESULTS={results}"]
        if name == "merge":
            words += ["--after", jobs["primes"]]
        prompt(words)
        jobs[name] = ask(*words).strip()
        print(jobs[name], flush=True)
    return jobs


def results_are_right(jobs: dict[str, str]) -> bool:
    """What the jobs said, shown and checked."""
    show("logs", jobs["merge"])
    show("logs", jobs["gang"], "--rank", "0")
    total = ask("logs", jobs["merge"])
    checks = {
        f"the slices add up to {PRIMES}": PRIMES in total,
        "both sites took part": "east" in total and "local" in total,
        "four ranks met": "[0, 1, 2, 3]" in ask("logs", jobs["gang"], "--rank", "0"),
        "the job in two sittings took two": json.loads(ask("get", jobs["checkpoint"], "-o", "json"))["status"]["attempt"] == 2,
    }
    print()
    for claim, holds in checks.items():
        print(f"  {'yes' if holds else 'NO '}  {claim}")
    return all(checks.values())


# Talking -----------------------------------------------------------------------------------------------------------


def chapter(title: str) -> None:
    print(f"\n{bold(title)}", flush=True)


def prompt(words: list[str]) -> None:
    print(f"\n{bold('$ bushel ' + shlex.join(words))}", flush=True)


def show(*words: str, expect: int | tuple[int, ...] = 0) -> int:
    """Run a command as a person would see it, on the terminal if there is one."""
    prompt(list(words))
    code = subprocess.run([*BUSHEL, *words], check=False).returncode
    if code not in (expect if isinstance(expect, tuple) else (expect,)):
        sys.exit(f"bushel {shlex.join(words)} ended with {code}, not {expect}")
    return code


def ask(*words: str) -> str:
    done = subprocess.run([*BUSHEL, *words], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"bushel {shlex.join(words)} ended with {done.returncode}")
    return done.stdout


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def in_path() -> bool:
    return any(Path(folder, "bushel").exists() for folder in os.environ.get("PATH", "").split(os.pathsep))


if __name__ == "__main__":
    sys.exit(main())
