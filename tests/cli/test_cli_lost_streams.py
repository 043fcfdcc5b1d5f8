"""A lost log stream never looks like an end: it exits with 1 and says how to go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bushel.cli import logs, run
from bushel.cli.main import main
from tests.scripted_server import Exchange, scripted

JOB: dict[str, Any] = {
    "metadata": {"id": "k7q2m", "name": "train", "project": "a/b/c", "queue": "main", "submitter": "ada", "labels": {}, "retry_of": None},
    "spec": {"run": "true"},
    "status": {
        "state": "running",
        "reason": None,
        "message": None,
        "attempt": 1,
        "exit_code": None,
        "started_at": None,
        "ended_at": None,
        "placement": [],
        "progress": None,
        "counts": {
            "total": 1,
            "succeeded": 0,
            "failed": 0,
            "cancelled": 0,
            "pending": 0,
            "delayed": 0,
            "starting": 0,
            "running": 1,
            "stopping": 0,
        },
    },
}

TEXT = "2026-11-24T11:20:00.123456789Z stdout F hello\n"
RECORD = json.dumps({"index": 0, "attempt": 1, "rank": 0, "offset": 0, "next_offset": len(TEXT), "text": TEXT})


def stream(*events: tuple[str, str]) -> bytes:
    body = b"".join(f"id: at-{number}\nevent: {kind}\ndata: {data}\n\n".encode() for number, (kind, data) in enumerate(events, 1))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + f"{len(body):x}\r\n".encode() + body + b"\r\n"


def bushel(*events: tuple[str, str]) -> Any:
    def act(exchange: Exchange) -> None:
        followed = 0
        while True:
            request = exchange.request()
            if b"/logs/follow" not in request.split(b"\r\n")[0]:
                exchange.answer(json.dumps(JOB).encode(), headers="Content-Type: application/json\r\n")
            elif followed == 0 and b"Last-Event-ID" not in request:
                exchange.send(stream(*events))
                return
            else:
                return

    return act


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(logs, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(run, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("BUSHEL_PROJECT", raising=False)


def test_logs_that_break_off(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted(bushel(("log", RECORD))) as server:
        code = main(["logs", "-f", "k7q2m", "--url", server.url])
    shown = capfd.readouterr()
    assert code == 1
    assert shown.out == "hello\n"
    assert "broke off" in shown.err
    assert "bushel logs -f k7q2m --from at-1" in shown.err


def test_a_run_whose_output_breaks_off(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted(bushel(("log", RECORD))) as server:
        code = main(["run", "--url", server.url, "--", "true"])
    assert code == 1
    assert "bushel logs -f k7q2m --from at-1" in capfd.readouterr().err


@pytest.mark.parametrize("complete", [True, False])
def test_output_that_was_never_received_is_no_success(complete: bool, capfd: pytest.CaptureFixture[str]) -> None:
    events = [("log", RECORD), ("end", json.dumps({"state": "succeeded", "complete": complete}))]
    with scripted(bushel(*events)) as server:
        code = main(["logs", "-f", "k7q2m", "--url", server.url])
    assert code == (0 if complete else 1)
    assert ("never received" in capfd.readouterr().err) is not complete
