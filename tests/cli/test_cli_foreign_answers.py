"""What is not Bushel is said to be so, in words and with the exit code for it; its words cannot command the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bushel.cli.main import main
from tests.scripted_server import Exchange, scripted

JSON = "Content-Type: application/json\r\n"
PROBLEM = "Content-Type: application/problem+json\r\n"


@pytest.fixture(autouse=True)
def nothing_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("BUSHEL_PROJECT", raising=False)


def answers(status: str, body: bytes, headers: str) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.request()
        exchange.answer(body, status=status, headers=headers)

    return act


@pytest.mark.parametrize("command", ["ls", "get x", "wait x", "logs x", "logs -f x", "whoami", "submit -- true", "events", "top"])
@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        ("200 OK", b"<html>sign in</html>", "Content-Type: text/html\r\n"),
        ("200 OK", b"[]", JSON),
        ("302 Found", b"", "Location: http://elsewhere.invalid/\r\n"),
        ("404 Not Found", b"<html>no such page</html>", "Content-Type: text/html\r\n"),
        ("503 Unavailable", b"upstream is down", "Content-Type: text/plain\r\n"),
    ],
)
def test_another_service_is_told_apart(capfd: pytest.CaptureFixture[str], command: str, status: str, body: bytes, headers: str) -> None:
    with scripted(answers(status, body, headers)) as server:
        verb, *words = command.split()
        code = main([verb, "--url", server.url, *words])
    shown = capfd.readouterr()
    assert code == 3, shown.err
    assert "is not Bushel" in shown.err
    assert "Traceback" not in shown.err


def test_a_problem_of_wrong_types_is_still_a_refusal(capfd: pytest.CaptureFixture[str]) -> None:
    problem = {"code": "odd", "detail": "no\x1b[2J", "title": 3, "problems": "zz", "suggestion": 5}
    with scripted(answers("422 Unprocessable", json.dumps(problem).encode(), PROBLEM)) as server:
        code = main(["ls", "--url", server.url])
    assert (code, capfd.readouterr().err) == (1, "error: no\ufffd[2J\n")


def test_a_refused_token_is_traced_to_where_it_came_from(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {"code": "unauthenticated", "detail": "this needs a valid token"}
    monkeypatch.setenv("BUSHEL_TOKEN", "wrong")
    with scripted(answers("401 Unauthorized", json.dumps(problem).encode(), PROBLEM)) as server:
        monkeypatch.setenv("BUSHEL_URL", server.url)
        assert main(["ls"]) == 4
    assert "The token came from BUSHEL_TOKEN\n" in capfd.readouterr().err
