"""A task or an agent that sends what it should not harms itself at most: everybody else's work goes on."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.faults.platform import ENDED, Platform, node, running_platform, wait_for
from tests.small_disk import needs_root, small_disk

pytestmark = pytest.mark.faults

HOSTILE_PROGRESS = [
    '{"done": NaN, "metrics": {"loss": NaN}}',
    '{"done": 1e999, "total": -Infinity}',
    r'{"done": 1, "stage": "\ud800\u0000\u001b[2J"}',
    '{"done": 1' + "0" * 400 + "}",
    '{"x": ' + "[" * 200 + "]" * 200 + "}",
]


class LyingAgent:
    """Speaks for a cluster of its own, with its token, and says what it likes."""

    def __init__(self, platform: Platform, name: str) -> None:
        platform.ask("POST", "/v1/sites", {"name": f"site-{name}"})
        self._url = platform.url
        self._token = platform.ask("POST", "/v1/clusters", {"name": name, "site": f"site-{name}"})["agent_token"]

    def says(self, **said: Any) -> tuple[int, Any]:
        """Status and answer."""
        request = {"incarnation": "liar", "epoch": None, "sent_at": "9999-12-31T23:59:59Z", "known_version": 0, "complete": True}
        return self.sends("/v1/agent/sync", json.dumps({**request, "attempts": [], "wait_seconds": 0, **said}).encode(), "application/json")

    def sends(self, path: str, body: bytes, content_type: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type}
        try:
            with urllib.request.urlopen(urllib.request.Request(self._url + path, body, headers, method="POST"), timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


def claim(name: str, **said: Any) -> dict[str, Any]:
    """One node, as an agent reports it."""
    return {**node(name), "labels": {}, "topology": [], "state": "ready", "detail": {}, **said}


def small(run: str | list[str], **more: Any) -> dict[str, Any]:
    return {"run": run, "resources": {"cpu": 0.1, "memory": "16MiB"}, **more}


def test_what_tasks_print_of_their_progress_stops_no_report() -> None:
    """docs/concepts/local-engine.md#what-is-measured"""
    with running_platform({"one": [node("n1")]}) as platform:
        platform.up()
        jobs = platform.submit(*[small(["echo", f"::progress {told}"]) for told in HOSTILE_PROGRESS], small("true"))
        assert set(platform.wait(jobs, 40).values()) == {"succeeded"}


def test_an_agent_that_lies_changes_nothing_for_others() -> None:
    with running_platform({"one": [node("n1")]}) as platform:
        platform.up()
        [victim] = platform.submit(small("sleep 600", name="victim"))
        wait_for("the victim to run", lambda: platform.job(victim)["status"]["state"] == "running")
        liar = LyingAgent(platform, "liar")
        status, granted = liar.says(nodes=[claim("n1")])
        assert status == 200
        epoch = {"epoch": granted["epoch"], "complete": False, "known_version": granted["version"]}
        success = {"report_version": 2**60, "state": "ended", "tasks": [{"rank": 0, "state": "ended", "exit_code": 0}]}
        for id in (f"{victim}.0.1", f"{victim}.0.2", f"{victim}.7.1", "zzzzz.0.1", "../../x.0.1", ""):
            assert liar.says(**epoch, attempts=[{"id": id, **success}])[0] == 200
            header = {"streams": [{"attempt": id, "rank": 0, "offset": 0, "length": 0, "ended": True}]}
            assert liar.sends("/v1/agent/logs", json.dumps(header).encode() + b"\n", "application/vnd.bushel.logs")[0] == 200
        claims = {"cpu": 10**18, "memory": 2**62, "gpu/H100": 10**18, "luck": 1}
        absurd = [claim(f"m{number}\x1b[2J", capacity=claims, labels={"\x1b": "\x07"}) for number in range(500)]
        assert liar.says(**{**epoch, "complete": True}, nodes=absurd)[0] == 200
        assert liar.says(**{**epoch, "epoch": granted["epoch"] + 1})[0] == 409
        [after] = platform.submit(small("true"))
        assert platform.wait([after], 20) == {after: "succeeded"}
        assert platform.job(victim)["status"]["state"] == "running"
        assert platform.job(victim)["status"]["attempt"] == 1
        names = [item["name"] for item in platform.ask("GET", "/v1/nodes?cluster=liar&limit=1000")["items"]]
        assert names
        assert all(name.isprintable() for name in names)
        platform.ask("POST", f"/v1/jobs/{victim}/cancel", {})
        wait_for("the victim to end", lambda: platform.job(victim)["status"]["state"] in ENDED)


@needs_root
def test_a_full_disk_for_logs_stops_no_job_and_is_told_in_the_log() -> None:
    """docs/concepts/guarantees.md#logs"""
    with running_platform({"one": [node("n1")]}) as platform, small_disk(platform.home.state / "logs", 4 * 1024**2) as disk:
        platform.up()
        [flood] = platform.submit(small("head -c 20000000 /dev/urandom | base64; echo the end"))
        [beside] = platform.submit(small("for i in 1 2 3 4 5; do echo $i; sleep 0.2; done"))
        assert platform.wait([flood, beside], 60) == {flood: "succeeded", beside: "succeeded"}
        assert platform.job(flood)["status"]["exit_code"] == 0
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        wait_for("the whole of the small log", lambda: text(platform, beside).splitlines() == ["1", "2", "3", "4", "5"])
        wait_for("the end of the flood", lambda: text(platform, flood, "tail=1").endswith("the end\n"), 90)


def text(platform: Platform, job: str, query: str = "") -> str:
    """What a task printed, without the heads of its records."""
    request = urllib.request.Request(f"{platform.url}/v1/jobs/{job}/logs?{query}", headers={"Authorization": f"Bearer {platform.token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return "".join(line.split(" ", 3)[3] for line in answer.read().decode().splitlines(keepends=True))
