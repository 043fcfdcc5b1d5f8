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
FAILED = 100


def main() -> int:
    began = time.monotonic()
    chapter("Start the platform, and pose as a second site")
    show("up")
    if "east-1" not in ask("cluster", "ls", "-o", "name").split():
        show("cluster", "add", "east-1", "--site", "east", "--nodes", "4", "--cpu", "4", "--memory", "4GiB", "--topology", "rack=r1,r2")
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
    total = show("logs", jobs["merge"])
    meeting = show("logs", jobs["gang"], "--rank", "0")
    sites = {attempt["site"] for attempt in json.loads(ask("get", jobs["primes"], "-o", "json"))["status"]["placement"]}
    checks = {
        f"the slices add up to {PRIMES}": PRIMES in total,
        "four ranks met": "[0, 1, 2, 3]" in meeting,
        "the job in two sittings needed two": json.loads(ask("get", jobs["checkpoint"], "-o", "json"))["status"]["attempt"] == 2,
    }
    for claim, holds in checks.items():
        print(f"  {'yes' if holds else 'NO '}  {claim}")
    return all(checks.values()) and bool(sites is not None)


# Talking -----------------------------------------------------------------------------------------------------------


def chapter(title: str) -> None:
    print(f"\n{bold(title)}", flush=True)


def prompt(words: list[str]) -> None:
    print(f"\n{bold('$ bushel ' + shlex.join(words))}", flush=True)


def show(*words: str, expect: int = 0) -> str:
    """Run a command as a person would see it. Returns what it printed, unless it had the terminal."""
    prompt(list(words))
    if sys.stdout.isatty() and words[0] == "wait":  # it draws its progress itself
        done = subprocess.run([*BUSHEL, *words], check=False)
        said = ""
    else:
        done = subprocess.run([*BUSHEL, *words], check=False, stdout=subprocess.PIPE, text=True)
        said = done.stdout
        print(said, end="", flush=True)
    if done.returncode != expect:
        sys.exit(f"bushel {shlex.join(words)} ended with {done.returncode}, not {expect}")
    return said


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
