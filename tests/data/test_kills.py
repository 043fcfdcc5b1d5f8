"""docs/concepts/datasets.md#kill: a task or the control plane killed between any two effects leaves no half of anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bushel.control.dataset_parts import resolve_output
from bushel.data.inputs import input
from tests.data.conftest import PROJECT, Shop, fill
from tests.storage.conftest import KEYS

TASK = """
from bushel import data
with data.output("out") as out:
    for number in range(3):
        with out.open(f"clips/{number}.bin", records=1) as file:
            file.write(bytes([number]) * 200_000)
"""

POINTS = ["place.before_rename", "place.after_put", "data.after_file", "data.after_file@3", "data.after_part", "data.before_result"]

STEP = """
import sys
from datetime import timedelta
from pathlib import Path
from bushel.control.dataset_keeping import Keeping
from bushel.store import leases
from bushel.store.database import Database
with Database(sys.argv[1]) as database:
    with database.transaction() as tx:
        lease = leases.acquire(tx, "control", "test", 60)
    keeping = Keeping(database, lease, Path(sys.argv[2]), age=timedelta(0))
    while keeping.step(): pass
    keeping.sweep()
"""


def task(shop: Shop, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A task that writes a part, as a process of its own."""
    with shop.database.transaction() as tx:
        told = resolve_output(tx, shop.admin, PROJECT, "frames")
    given = {"BUSHEL_OUTPUTS": json.dumps({"out": told}), "BUSHEL_RESULT_FILE": str(shop.folder / "result.json"), "BUSHEL_SITE": "here"}
    return subprocess.run(
        [sys.executable, "-c", TASK], env={**os.environ, **given, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def left_in(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()]


@pytest.mark.parametrize("point", POINTS)
def test_a_task_that_is_killed_leaves_no_word_and_the_next_makes_the_same_part(shop: Shop, point: str) -> None:
    place = shop.place("default")
    killed = task(shop, {"BUSHEL_FAILPOINT": point})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (shop.folder / "result.json").exists()
    done = task(shop, {})
    assert done.returncode == 0, done.stderr
    part = json.loads((shop.folder / "result.json").read_text())["outputs"]["out"]
    undisturbed = shop.write("frames", fill(*((f"clips/{number}.bin", bytes([number]) * 200_000) for number in range(3))))
    assert undisturbed["digest"] == part["digest"], "the part is byte for byte that of an undisturbed run"
    shop.commit("frames", {"a": part})
    shop.keep_house()
    for path in left_in(place):
        os.utime(path, (0, 0))
    shop.keeping(timedelta(days=1)).sweep()
    assert not [path for path in left_in(place) if path.name.startswith(".")], "what was half written is swept"
    with shop.task(given={"in": "frames"}):
        assert [len(file.read()) for file in input("in").files()] == [200_000] * 3


@pytest.mark.parametrize("point", ["dataset_keeping.after_manifest", "dataset_keeping.before_removed"])
def test_housekeeping_that_is_killed_is_done_by_the_next(shop: Shop, point: str, database_url: str) -> None:
    place = shop.place("default")
    shop.commit("frames", {"a": shop.write("frames", fill(("x", b"kept")))})
    stray = shop.write("frames", fill(("x", b"of a lost attempt")))
    lies_at = place / "parts" / stray["digest"].removeprefix("sha256:")
    killed = keep_house(shop, database_url, {"BUSHEL_FAILPOINT": point})
    assert killed == -signal.SIGKILL
    assert keep_house(shop, database_url, {}) == 0
    assert not lies_at.exists()
    with shop.task(given={"in": "frames"}):
        assert [file.read() for file in input("in").files()] == [b"kept"]


def keep_house(shop: Shop, database_url: str, environment: dict[str, str]) -> int:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("delete from leases")
    ran = subprocess.run(
        [sys.executable, "-c", STEP, database_url, str(shop.folder)], env={**os.environ, **environment}, timeout=60, check=False
    )
    return ran.returncode


COMMIT = """
import json, sys
from bushel.control.dataset_parts import commit_parts
from bushel.store.database import Database
with Database(sys.argv[1]) as database, database.transaction() as tx:
    commit_parts(tx, project_id=int(sys.argv[2]), project_path="home/main/main", dataset="frames",
                 parts=json.loads(sys.argv[3]), produced_by={"pipeline": "drive", "stage": "decode", "run": 1})
"""


@pytest.mark.parametrize(
    ("point", "there"),
    [
        ("dataset_commit.after_version", False),
        ("dataset_commit.before_commit", False),
        ("database.before_commit", False),
        ("database.after_commit", True),
    ],
)
def test_a_commit_that_is_killed_happened_or_did_not(shop: Shop, point: str, there: bool, database_url: str) -> None:
    shop.place("default")
    part = shop.write("frames", fill(("x", b"content")))
    command = [sys.executable, "-c", COMMIT, database_url, str(shop.project_id), json.dumps([["a", part]])]
    killed = subprocess.run(command, env={**os.environ, "BUSHEL_FAILPOINT": point}, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    with shop.database.transaction() as tx:
        found = {name: tx.one(f"select count(*) as count from {name}")["count"] for name in WHOLE}
    assert found == {name: count if there else 0 for name, count in WHOLE.items()}
    again = subprocess.run(command, timeout=60, check=False)
    assert again.returncode == 0
    with shop.database.transaction() as tx:
        assert {name: tx.one(f"select count(*) as count from {name}")["count"] for name in WHOLE} == WHOLE


WHOLE = {"dataset_versions": 1, "dataset_version_parts": 1, "lineage_events": 2}


def test_a_bucket_is_a_place_like_another(shop: Shop, s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    _add_bucket(shop, s3_server, bucket)
    killed = task(shop, {"BUSHEL_FAILPOINT": "data.after_file@2"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert task(shop, {}).returncode == 0
    part = json.loads((shop.folder / "result.json").read_text())["outputs"]["out"]
    made = shop.commit("frames", {"a": part})
    shop.keep_house()
    with shop.task(given={"in": f"frames@{made['version']}"}):
        assert [len(file.read()) for file in input("in").files()] == [200_000] * 3


def _add_bucket(shop: Shop, endpoint: str, bucket: str) -> None:
    """With its secrets stored as people store them."""
    from bushel.control.encryption import load_key
    from bushel.control.secrets import put_secret
    from bushel.control.storage_places import put_place
    from bushel.spec.dataset import NewPlace

    document: dict[str, Any] = {
        "url": f"s3://{bucket}/data",
        "options": {"endpoint": endpoint, "region": "us-east-1"},
        "secrets": {"access_key_id": "S3_ID", "secret_access_key": "S3_KEY"},
    }
    with shop.database.transaction() as tx:
        for name, value in KEYS.items():
            put_secret(tx, shop.admin, load_key(shop.folder), PROJECT, name, value)
        put_place(tx, shop.admin, PROJECT, "default", NewPlace.model_validate(document).model_dump())
