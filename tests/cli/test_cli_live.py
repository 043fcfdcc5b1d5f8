"""The commands against a running Bushel, as people and scripts use them."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.running_bushel import RunningBushel

SMALL = ("--cpu", "0.1", "--memory", "64MiB")


def test_run_is_the_program_itself(running: RunningBushel) -> None:
    ran = running.run("run", *SMALL, "--", "echo out; echo err >&2; exit 3")
    assert ran.code == 3
    assert ran.out == "out\n"
    assert "err\n" in ran.err
    assert "exit code 3" in ran.err
    assert running.run("run", *SMALL, "--", "true").code == 0


def test_submit_prints_the_id_alone_for_scripts(running: RunningBushel) -> None:
    first = running.submit(*SMALL, "--", "true")
    second = running.submit(*SMALL, "--after", first, "--", "echo", "a b")
    assert running.run("wait", first, second).code == 0
    assert running.run("logs", second).out == "a b\n"


def test_files_hold_many_documents(running: RunningBushel, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("name: prepare\nrun: echo 1\n---\nname: train\nafter: [prepare]\nrun: echo 2\n")
    ran = running.run("submit", "jobs.yaml", "-o", "name", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert running.run("wait", *ran.out.split()).code == 0
    ran = running.run("submit", "-", stdin="run: echo from standard input\n")
    assert ran.code == 0
    assert ran.out.startswith("echo ")
    assert "Next: bushel logs -f" in ran.err


def test_errors_stand_where_they_were_written(running: RunningBushel, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("run: echo\nresources:\n  gpus: 8\n")
    ran = running.run("submit", "job.yaml", cwd=tmp_path)
    assert ran.code == 2
    assert "job.yaml:3: resources.gpus: unknown field. Did you mean `gpu`?\n  3 │   gpus: 8\n        ‾‾‾‾\n" in ran.err
    (tmp_path / "jobs.yaml").write_text("run: echo\n---\nrun: echo\nnodes: many\n")
    ran = running.run("submit", "jobs.yaml", cwd=tmp_path)
    assert ran.code == 2
    assert "jobs.yaml:4: nodes: " in ran.err
    ran = running.run("submit", "--memory", "much", "--", "echo")
    assert ran.code == 2
    assert ran.err.startswith("--memory much: not a size")


def test_a_dry_run_submits_nothing(running: RunningBushel) -> None:
    ran = running.run("submit", "--dry-run", "--name", "never", "--", "true")
    assert (ran.code, ran.out) == (0, "never would be queued in home/main/main, queue main\n")
    assert running.run("get", "never").code == 5


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 9", 100)])
def test_wait_tells_how_it_ended(running: RunningBushel, command: str, code: int) -> None:
    assert running.run("wait", running.submit(*SMALL, "--", command)).code == code


def test_wait_tells_what_did_not_end(running: RunningBushel) -> None:
    held = running.submit("--hold", *SMALL, "--", "true")
    assert running.run("wait", "--timeout", "0.3s", held).code == 101
    assert running.run("wait", "zzzzz").code == 102
    assert running.run("cancel", held).code == 0
    assert running.run("wait", held).code == 103
    done = running.submit(*SMALL, "--", "true")
    assert running.run("wait", done, held).code == 103
    assert running.run("wait", "--any", done, running.submit("--hold", *SMALL, "--", "true")).code == 0


def test_an_array_tells_which_failed(running: RunningBushel) -> None:
    job = running.submit(*SMALL, "--name", "sweep", "--array", "0-4", "--", "echo $BUSHEL_TASK_INDEX; test $BUSHEL_TASK_INDEX != 3")
    assert running.run("wait", job).code == 100
    assert "failed    3" in running.run("get", job).out
    assert running.run("logs", job).out.splitlines() == [f"[{index}] {index}" for index in range(5)]
    assert running.run("logs", job, "--index", "3").out == "3\n"
    assert running.run("logs", "-f", job).code == 2
    for command in (("cancel", "--index", "9"), ("logs", "--index", "9"), ("logs", "--index", "3", "--rank", "7")):
        assert running.run(command[0], job, *command[1:]).code == 5, command
    story = running.run("describe", job)
    assert "index 3, attempt 1, failed" in story.out
    assert f"bushel logs {job} --index 3" in story.err
    again = running.run("retry", job, "-o", "name").out.strip()
    assert running.run("wait", again).code == 100
    assert running.run("logs", again).out == "[3] 3\n"


def test_a_gang_prefixes_each_rank(running: RunningBushel) -> None:
    job = running.submit(*SMALL, "--nodes", "2", "--", "echo rank $BUSHEL_RANK of $BUSHEL_WORLD_SIZE")
    assert running.run("wait", job).code == 0
    assert sorted(running.run("logs", job).out.splitlines()) == ["[rank 0] rank 0 of 2", "[rank 1] rank 1 of 2"]
    assert running.run("logs", job, "--rank", "1").out == "rank 1 of 2\n"


def test_describe_tells_the_story_in_order(running: RunningBushel) -> None:
    job = running.submit(*SMALL, "--name", "story", "--", "exit 4")
    running.run("wait", job)
    lines = running.run("describe", job).out.splitlines()
    facts = ("submitted by admin", "attempt 1 started on", "attempt 1 failed")
    told = [next(number for number, line in enumerate(lines) if fact in line) for fact in facts]
    assert told == sorted(told)
    assert "exit code 4" in lines[told[-1]]


def test_hold_release_cancel(running: RunningBushel) -> None:
    job = running.submit("--hold", *SMALL, "--", "true")
    assert "is held" in running.run("explain", job).out
    assert "it is held" in running.run("estimate", job).out
    assert running.run("release", job).code == 0
    assert running.run("wait", job).code == 0
    assert running.run("hold", job).code == 6
    assert "had already succeeded" in running.run("cancel", job).out


def test_an_estimate_of_what_is_not_submitted(running: RunningBushel) -> None:
    assert "it starts with the next plan" in running.run("estimate", *SMALL, "--", "true").out
    assert running.run("estimate", "nothing-of-that-name").code == 5
    wrong = running.run("estimate", *SMALL, "--queue", "nowhere", "--", "true")
    assert (wrong.code, "nowhere" in wrong.err) == (2, True)
    assert "not both" in running.run("estimate", "some-job", "--file", "job.yaml").err


def test_the_past_of_an_installation_is_replayed_on_more_nodes(running: RunningBushel, tmp_path: Path) -> None:
    assert running.run("wait", running.submit(*SMALL, "--", "true")).code == 0
    made = running.run("what-if", "--add", "2x8c", "--seeds", "2")
    assert made.code == 0, made.err
    assert "wait: mean" in made.out
    assert "changed, sample 1" in made.err
    assert "nothing is changed" in running.run("what-if").err
    kept = str(tmp_path / "history.jsonl")
    assert running.run("what-if", "--save", kept).code == 0
    assert '"resources"' in Path(kept).read_text()
    assert not any("run" in json.loads(line)["spec"] for line in Path(kept).read_text().splitlines()), "what was run is nobody's business"
    assert running.run("simulate", kept, "--nodes", "2x8c").code == 0
    assert "there is no queue 'nowhere'" in running.run("what-if", "--queue", "nowhere:weight=1").err


def test_cancel_of_many_asks_first(running: RunningBushel) -> None:
    for _ in range(3):
        running.submit("--hold", "--label", "many=yes", *SMALL, "--", "true")
    ran = running.run("cancel", "--label", "many=yes")
    assert ran.code == 2
    assert "--yes" in ran.err
    ran = running.run("cancel", "--label", "many=yes", "--yes")
    assert (ran.code, ran.out) == (0, "3 jobs told to stop\n")


def test_ls_filters_and_says_how_many_more(running: RunningBushel) -> None:
    for number in range(3):
        running.submit("--hold", "--name", f"list-{number}", "--label", "list=1", *SMALL, "--", "true")
    assert len(running.run("ls", "--label", "list=1", "-o", "name").out.split()) == 3
    assert len(running.run("ls", "--name", "list-*", "--state", "held", "--by", "me", "--since", "1h", "-o", "name").out.split()) == 3
    assert running.run("ls", "--name", "list-*", "--since", "2030-01-01", "-o", "name").out == ""
    ran = running.run("ls", "--label", "list=1", "--limit", "2")
    assert len(ran.out.splitlines()) == 3
    assert "more" in ran.err
    narrow = running.run("ls", environment={"COLUMNS": "40"}).out
    assert all(len(line) <= 40 for line in narrow.splitlines())


@pytest.mark.parametrize("output", ["json", "jsonl", "yaml", "name", "wide"])
@pytest.mark.parametrize(
    "command",
    ["ls", "node ls", "cluster ls", "site ls", "queue ls", "scope ls", "role ls", "token ls", "principal ls", "audit", "whoami", "events"],
)
def test_every_list_has_every_format(running: RunningBushel, command: str, output: str) -> None:
    running.submit("--hold", *SMALL, "--", "true")
    ran = running.run(*command.split(), "-o", output)
    assert ran.code == 0, ran.err
    assert ran.out
    if output == "json" and command != "events":
        json.loads(ran.out)
    if output in ("jsonl", "name"):
        assert all(ran.out.splitlines())
    if output == "yaml":
        assert list(yaml.safe_load_all(ran.out))


def test_a_node_says_how_limits_are_held(running: RunningBushel) -> None:
    node = running.run("node", "ls", "-o", "name").out.split()[0]
    shown = running.run("node", "get", node).out
    assert "limits" in shown
    assert running.run("node", "cordon", node).code == 0
    assert "cordoned" in running.run("node", "ls").out
    assert running.run("node", "uncordon", node.partition("/")[2]).code == 0
    times = ("--from", "2130-01-31", "--until", "2130-02-01T04:00:00Z", "--reason", "new fans")
    assert running.run("node", "maintain", node, *times).code == 0
    assert "new fans (window 1)" in running.run("node", "get", node).out
    assert running.run("node", "end-maintenance", node, "1").code == 0
    assert "new fans" not in running.run("node", "get", node).out


def test_tenancy_by_commands(running: RunningBushel) -> None:
    for command in (
        ["scope", "add", "home/vision"],
        ["scope", "add", "home/vision/cars"],
        ["principal", "add", "robot", "--scope", "home/vision", "--service"],
        ["role", "grant", "robot", "member", "home/vision"],
        ["queue", "add", "fast", "--scope", "home/vision", "--cpu", "2", "--gpu", "H100:8", "--jobs", "5"],
        ["queue", "set", "fast", "--jobs", "none", "--memory", "1GiB"],
    ):
        ran = running.run(*command)
        assert ran.code == 0, (command, ran.err)
    assert "2 cpu · 1 GiB memory · 8 H100" in running.run("queue", "get", "fast").out
    assert running.run("queue", "set", "fast", "--guarantee", "cpu=2,H100=8", "--lend", "H100=4", "--borrow", "cpu=0").code == 0
    assert running.run("queue", "set", "fast", "--guarantee", "cpu=1", "--borrow", "none", "--weight", "0").code == 0
    told = running.run("queue", "get", "fast").out
    assert "guarantee   1 cpu · 8 H100" in told, "what is not named stays"
    assert "lends       at most 4 H100 of its guarantee" in told
    assert "borrows     whatever is free" in told
    assert "weight      0 (it gets what nobody else wants)" in told
    cluster = running.run("cluster", "ls", "-o", "name").out.split()[0]
    assert running.run("cluster", "price", cluster, "--cpu", "0.04").code == 0
    assert running.run("cluster", "price", cluster, "--gpu", "H100=2.5").out.count("an hour") == 2
    assert "has no prices" in running.run("cluster", "price", cluster, "--none").out
    refused = running.run("queue", "set", "fast", "--guarantee", "cpu=3")
    assert refused.code == 2
    assert "fast would be guaranteed 3 CPUs and limited to 2 CPUs" in refused.err
    assert "Guarantee at most 2 CPUs, or raise the quota of fast" in refused.err
    assert "write RESOURCE=AMOUNT" in running.run("queue", "set", "fast", "--lend", "H100").err
    assert "Try: --guarantee cpu=1" in running.run("queue", "set", "fast", "--guarantee", "cpuu=1").err
    assert "bushel queue ls" in running.run("queue", "get", "slow").err
    token = running.run("token", "add", "ci", "--principal", "robot", "--expires", "1d", "-o", "name").out.strip()
    me = running.run("whoami", environment={"BUSHEL_TOKEN": token})
    assert me.out.startswith("robot   service")
    assert running.run("audit", environment={"BUSHEL_TOKEN": token}).code == 4
    identity = running.run("token", "ls", "--principal", "robot", "-o", "name").out.strip()
    assert running.run("token", "revoke", identity).code == 0
    assert running.run("whoami", environment={"BUSHEL_TOKEN": token}).code == 4
    assert running.run("queue", "remove", "fast").code == 0


def test_a_secret_never_stands_on_the_command_line(running: RunningBushel) -> None:
    assert running.run("secret", "set", "API_KEY", "--scope", "home/main/main", stdin="swordfish\n").code == 0
    ran = running.run("run", *SMALL, "--secret", "API_KEY", "--", 'test "$API_KEY" = swordfish && echo "$API_KEY"')
    assert ran.code == 0
    assert "swordfish" not in ran.out
    assert "swordfish" not in running.run("secret", "ls", "--scope", "home/main/main", "-o", "json").out


def test_a_quota_has_its_own_exit_code(running: RunningBushel) -> None:
    for command in ("scope add home/small", "scope add home/small/p", "queue add tiny --scope home/small --jobs 0"):
        assert running.run(*command.split()).code == 0
    ran = running.run("submit", "--project", "home/small/p", "--queue", "tiny", *SMALL, "--", "true")
    assert ran.code == 7, ran.err


# On a terminal -----------------------------------------------------------------------------------------------------


def on_terminal(running: RunningBushel, *arguments: str, until: str, then: int | None = None) -> tuple[str, int]:
    """What a command shows on a terminal of 80 columns, and its exit code; `then` is a signal to send once `until` was shown."""
    child, descriptor = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-m", "bushel.cli.main", *arguments], running.environment(TERM="xterm"))
    shown, deadline, sent = "", time.monotonic() + 30, False
    while time.monotonic() < deadline:
        ready, _, _ = select.select([descriptor], [], [], 0.1)
        if ready:
            try:
                data = os.read(descriptor, 65536)
            except OSError:
                break
            if not data:
                break
            shown += data.decode(errors="replace")
        if until in shown and then is not None and not sent:
            os.kill(child, then)
            sent = True
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail(f"{arguments} did not end within 30 s; it showed {shown!r}")
    os.close(descriptor)
    return shown, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_ctrl_c_detaches_and_says_how_to_come_back(running: RunningBushel) -> None:
    shown, code = on_terminal(running, "run", *SMALL, "--name", "detached", "--", "echo begun; sleep 60", until="begun", then=signal.SIGINT)
    assert code == 130
    assert "goes on" in shown
    assert "bushel logs -f" in shown
    assert running.run("get", "detached", "-o", "json").out.count('"running"') >= 1
    assert running.run("cancel", "detached").code == 0


def test_output_is_exact_in_a_pipe_and_harmless_on_a_terminal(running: RunningBushel) -> None:
    job = running.submit(*SMALL, "--", r"printf 'a\033[2Jb\033[31mc\n'")
    assert running.run("logs", "-f", job).out == "a\x1b[2Jb\x1b[31mc\n"
    shown, code = on_terminal(running, "logs", job, until="c")
    assert (shown, code) == ("a\ufffd[2Jb\x1b[31mc\r\n", 0)


def test_progress_of_an_array_is_shown_live(running: RunningBushel) -> None:
    job = running.submit(*SMALL, "--array", "0-3%1", "--", "sleep 0.5")
    shown, code = on_terminal(running, "wait", job, until="succeeded")
    assert code == 0
    assert "░" in shown
    assert "/4" in shown
    assert "\x1b[J" in shown  # the live lines were taken away


@contextmanager
def submitting(running: RunningBushel) -> Iterator[None]:
    """A small job a second: whoever follows sees the next whole, however late it began."""
    enough = threading.Event()

    def submit() -> None:
        while not enough.wait(1):
            running.submit(*SMALL, "--name", "followed", "--", "true")

    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(submit)
        try:
            yield
        finally:
            enough.set()
            submitted.result(60)


def test_events_are_followed(running: RunningBushel) -> None:
    """docs/reference/cli.md#bushel-events"""
    before = running.submit(*SMALL, "--hold", "--", "true")
    assert before in running.run("events", "--kind", "job.", "-n", "1").out
    command = [sys.executable, "-u", "-m", "bushel.cli.main", "events", "-f", "--kind", "job.", "-o", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=running.environment()) as following:
        try:
            assert following.stdout is not None
            submitted: set[str] = set()
            with submitting(running):
                for line in iter(following.stdout.readline, ""):
                    event = json.loads(line)
                    assert event["job"] != before, "it does not begin before now"
                    if event["kind"] == "job.submitted":
                        submitted.add(event["job"])
                    if event["kind"] == "job.succeeded" and event["job"] in submitted:
                        break
        finally:
            following.send_signal(signal.SIGINT)
            following.wait(10)


def test_a_file_that_does_not_travel_with_its_command_is_said(running: RunningBushel, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    told = "train.py of this folder does not travel with the job unless you say: --workdir ."
    assert told in running.run("submit", "--dry-run", "--", "python3", "train.py", cwd=tmp_path).err
    assert told not in running.run("submit", "--dry-run", "--workdir", ".", "--", "python3", "train.py", cwd=tmp_path).err
    assert told not in running.run("submit", "--dry-run", "-o", "json", "--", "python3", "train.py", cwd=tmp_path).err
