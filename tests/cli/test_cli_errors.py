"""What a person is told when something is wrong, and the exit code that a script sees. No Bushel runs here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running_bushel import Ran, run_bushel
from tests.scripted_server import Exchange, scripted


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUSHEL_")}
    return {**kept, "BUSHEL_HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def refusing(status: str, **problem: object) -> object:
    def act(exchange: Exchange) -> None:
        exchange.request()
        exchange.answer(
            json.dumps(problem).encode(), status=status, headers="Content-Type: application/problem+json\r\nConnection: close\r\n"
        )

    return act


def test_without_an_installation_it_says_how_to_get_one(environment: dict[str, str]) -> None:
    ran = run_bushel("ls", environment=environment)
    assert ran.code == 3
    assert "there is no running installation" in ran.err
    assert "bushel up" in ran.err
    assert not ran.out


def test_an_address_where_nobody_is(environment: dict[str, str]) -> None:
    ran = run_bushel("ls", "--url", "http://127.0.0.1:1", environment=environment)
    assert ran.code == 3
    assert "cannot reach Bushel at http://127.0.0.1:1: connection refused" in ran.err


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        ("401 Unauthorized", "unauthenticated", 4),
        ("403 Forbidden", "forbidden", 4),
        ("404 Not Found", "not_found", 5),
        ("409 Conflict", "conflict", 6),
        ("410 Gone", "gone", 5),
        ("413 Content Too Large", "too_large", 2),
        ("422 Unprocessable Content", "invalid_document", 2),
        ("422 Unprocessable Content", "idempotency_key_reused", 6),
        ("429 Too Many Requests", "quota_exceeded", 7),
        ("500 Internal Server Error", "internal", 1),
        ("503 Service Unavailable", "unavailable", 3),
        ("418 I'm a teapot", "from_a_later_version", 1),
    ],
)
def test_each_refusal_has_its_exit_code(environment: dict[str, str], status: str, code: str, exit_code: int) -> None:
    act = refusing(status, code=code, detail="no such luck", suggestion="bushel something else", request_id="r1")
    with scripted(act) as server:  # type: ignore[arg-type]
        ran = run_bushel("get", "k7q2m", "--url", server.url, environment=environment)
    assert ran.code == exit_code
    assert "no such luck" in ran.err
    assert not ran.out
    assert "Traceback" not in ran.err


def test_what_is_not_bushel_is_said(environment: dict[str, str]) -> None:
    def ssh(exchange: Exchange) -> None:
        exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n")

    with scripted(ssh) as server:
        ran = run_bushel("ls", "--url", server.url, environment=environment)
    assert ran.code == 3
    assert "is not Bushel" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lss"], "Did you mean ls?"),
        (["queue", "lst"], "Did you mean ls?"),
        (["ls", "--stat", "x"], "Did you mean --state?"),
        (["submit", "--file", "job.yaml"], "Files are named without an option"),
        (["ls", "--state", "asleep"], "--state asleep: write held, queued"),
        (["ls", "--", "x"], "nothing may stand behind --"),
        (["submit"], "nothing to run"),
        (["estimate"], "bushel estimate --file FILE"),
        (["estimate", "--file", "missing.yaml"], "missing.yaml: no such file or directory\n"),
        (["queue", "set", "x", "--weight", "much"], "--weight takes a whole number, not 'much'"),
        (["submit", "missing.yaml"], "missing.yaml: no such file or directory"),
        (["cancel"], "nothing to cancel"),
        (["ls", "--url", "http://127.0.0.1:1", "--since", "yesterday"], "is not a time"),
        (["ls", "--url", "nonsense"], "is not an address"),
        (["context", "use", "x"], "there is no context 'x'"),
        (["--frobnicate"], "unknown option"),
    ],
)
def test_wrong_use_is_exit_2_with_a_way_out(environment: dict[str, str], arguments: list[str], said: str) -> None:
    ran = run_bushel(*arguments, environment=environment)
    assert ran.code == 2
    assert said in ran.err
    assert not ran.out


def test_a_document_that_is_no_yaml_is_shown(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("run: [echo\n")
    ran = run_bushel("submit", "job.yaml", environment=environment, cwd=tmp_path)
    assert ran.code == 2
    assert "job.yaml:2: not YAML" in ran.err


def test_a_reader_that_goes_away_is_no_error(environment: dict[str, str]) -> None:
    program = f"{sys.executable} -m bushel.cli.main --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert done.returncode in (0, 141)
    assert not done.stderr


@pytest.mark.parametrize("command", ["--help", "schema job", "version"])
def test_what_cannot_be_written_is_an_error_in_words(environment: dict[str, str], command: str) -> None:
    program = f"{sys.executable} -m bushel.cli.main {command} > /dev/full"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert (done.returncode, done.stderr) == (1, "error: no space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("command", "code"), [("--help", 0), ("ls", 3), ("submit -", 2), ("ls --nope", 2)])
def test_closed_streams_change_no_exit_code(environment: dict[str, str], command: str, code: int, closed: str) -> None:
    program = f"{sys.executable} -m bushel.cli.main {command} {closed}"
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, timeout=30, check=False, env=environment, stdin=subprocess.DEVNULL
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("ls", "-n", "0"), ("ls", "-n", "-5"), ("audit", "--limit", "x"), ("get", ""), ("logs", "")])
def test_nothing_is_no_number_and_no_name(environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    assert run_bushel(*arguments, "--url", "http://127.0.0.1:1", environment=environment).code == 2


def test_leading_options_mean_the_same(environment: dict[str, str]) -> None:
    def ran(*arguments: str) -> Ran:
        return run_bushel(*arguments, environment=environment)

    assert ran("--url", "http://127.0.0.1:1", "ls") == ran("ls", "--url=http://127.0.0.1:1")


def test_contexts_are_kept_and_forgotten(environment: dict[str, str]) -> None:
    del environment["BUSHEL_HOME"]
    environment["HOME"] = environment["XDG_CONFIG_HOME"]

    def run(*arguments: str, stdin: str = "") -> Ran:
        done = run_bushel("context", *arguments, stdin=stdin, environment=environment)
        assert done.code == 0, done.err
        return done

    run("add", "work", "--url", "https://work.example", "--project", "acme/ml/x", stdin="the-token\n")
    run("add", "other", "--url", "https://other.example", stdin="other-token\n")
    assert run("ls", "-o", "name").out.split()[-2:] == ["work", "other"]
    run("use", "other", "--project", "acme/ml/y")
    assert [row["project"] for row in json.loads(run("ls", "-o", "json").out)["items"][-2:]] == ["acme/ml/x", "acme/ml/y"]
    run("remove", "other")
    stored = json.loads(Path(environment["XDG_CONFIG_HOME"], "bushel", "contexts.json").read_text())
    assert stored == {"current": None, "contexts": {"work": {"url": "https://work.example", "token": "the-token", "project": "acme/ml/x"}}}
    assert "the-token" not in run("ls", "-o", "json").out
