"""The backup that docs/guides/operate.md describes, taken while jobs run, and restored."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bushel.installation import parts
from tests.installation.conftest import Installation, wait_until


def test_a_backup_of_a_running_installation_is_restored_with_its_positions(installation: Installation, tmp_path: Path) -> None:
    """docs/guides/operate.md#back-up"""
    installation.up("--port", "0")
    home = installation.home
    kept = installation.call("POST", "/v1/jobs", {"run": "echo kept", "name": "kept"})["metadata"]["id"]
    wait_until("the job ends", lambda: installation.call("GET", f"/v1/jobs/{kept}")["status"]["state"] == "succeeded")
    position = installation.call("GET", "/v1/events?newest_first=true&limit=1")["position"]

    settings = home.settings()
    assert settings.embedded
    copy = tmp_path / "database"
    tool = Path(settings.embedded.binaries) / "pg_basebackup"
    subprocess.run(
        [tool, "-d", parts.database_url(home, settings), "-D", copy, "-X", "stream", "-c", "fast"], check=True, capture_output=True
    )
    after = installation.call("POST", "/v1/jobs", {"run": "true", "name": "after-the-backup"})["metadata"]["id"]
    installation.run("down", "--stop-tasks")

    data = home.postgres / "data"
    owner = data.stat()
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    for path in [data, *data.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)
    data.chmod(0o700)

    installation.up()
    assert installation.call("GET", f"/v1/jobs/{kept}")["status"]["state"] == "succeeded"
    assert installation.run("get", after, expect=5)
    assert installation.run("logs", kept).stdout.strip() == "kept"
    ran = installation.run("run", "--", "echo", "again")
    assert ran.stdout.splitlines()[-1] == "again"
    new = [event["kind"] for event in installation.call("GET", f"/v1/events?after={position}&limit=100")["items"]]
    assert "job.submitted" in new
    assert "job.succeeded" in new
