"""`bushel doctor` finds what is wrong and names the way out."""

from __future__ import annotations

import json
import os
import signal

from tests.installation.conftest import Installation, wait_until


def _findings(installation: Installation, expect: int) -> list[dict[str, str]]:
    return json.loads(installation.run("doctor", "-o", "json", expect=expect).stdout)["findings"]


def test_a_sound_installation_has_nothing_wrong(running: Installation) -> None:
    findings = _findings(running, expect=0)
    parts = {finding["part"] for finding in findings if finding["state"] == "fine"}
    assert {"home", "supervisor", "PostgreSQL", "events", "API", "controllers"} <= parts
    assert any(part.startswith("agent ") for part in parts)


def test_where_nothing_is_installed_the_way_out_is_up(installation: Installation) -> None:
    (finding,) = _findings(installation, expect=1)
    assert finding["mend"] == "bushel up"


def test_what_is_stopped_is_found(installation: Installation) -> None:
    """docs/guides/operate.md"""
    installation.up("--port", "0")
    installation.run("down")
    wrong = {finding["part"]: finding["mend"] for finding in _findings(installation, expect=1) if finding["state"] == "wrong"}
    assert {"supervisor", "PostgreSQL", "API"} <= wrong.keys()
    assert wrong["supervisor"] == "bushel up"


def test_an_agent_that_lost_its_lease_is_found(installation: Installation) -> None:
    """docs/guides/operate.md"""
    installation.up("--port", "0")
    name = next(name for name in installation.parts() if name.startswith("agent-"))
    agent = installation.pid(name)
    assert agent
    os.kill(agent, signal.SIGSTOP)
    try:
        cluster = name.removeprefix("agent-")
        wait_until("the lease runs out", lambda: installation.call("GET", f"/v1/clusters/{cluster}")["state"] != "ready")
        wrong = [finding["part"] for finding in _findings(installation, expect=1) if finding["state"] == "wrong"]
        assert wrong == [f"agent {cluster}"]
    finally:
        os.kill(agent, signal.SIGCONT)


def test_a_secret_that_others_can_read_is_found(running: Installation) -> None:
    running.home.admin_token_file.chmod(0o644)
    try:
        wrong = [finding for finding in _findings(running, expect=1) if finding["state"] == "wrong"]
        assert [finding["part"] for finding in wrong] == ["home"]
        assert wrong[0]["mend"].startswith("chmod 600 ")
    finally:
        running.home.admin_token_file.chmod(0o600)
