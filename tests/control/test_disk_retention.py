"""Logs and uploads are kept as long as promised, then the disk has their room again."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bushel.control.blobs import keep_blob
from bushel.control.disk_retention import RETENTION_DAYS, Sweep
from bushel.store.blobs import BlobFolder
from bushel.store.database import Database
from bushel.store.logs import LogFolder, LogId
from tests.control.lifecycle_world import World

LINE = b"2026-11-24T11:20:00.123456789Z stdout F long ago\n"
PROJECT = "home/main/main"


def upload(world: World, state: Path, content: bytes) -> tuple[Path, str]:
    """Where the file lies, and its digest."""
    folder, digest = BlobFolder(state), f"sha256:{hashlib.sha256(content).hexdigest()}"
    with folder.incoming() as incoming:
        incoming.write(content)
        incoming.verify(digest)
        keep_blob(world.database, folder, world.principal, incoming, path=PROJECT, project_id=world.project_id, digest=digest)
    return folder.path(world.project_id, digest), digest


def age(world: World, path: Path, digest: str, days: float) -> None:
    """As if it had been uploaded then."""
    then = time.time() - days * 86400
    os.utime(path, (then, then))
    with world.database.transaction() as tx:
        tx.execute("update blobs set created_at = now() - make_interval(secs => %s) where digest = %s", (days * 86400, digest))


def known(database: Database) -> set[str]:
    with database.transaction() as tx:
        return {row["digest"] for row in tx.all("select digest from blobs")}


def test_logs_go_when_their_attempt_ended_long_ago(world: World, tmp_path: Path) -> None:
    job = world.submit(array="0-2")
    keys = world.place(job, 3)
    logs = {key: LogId(*key, 0) for key in keys}
    stranger = LogId(10_000, 0, 1, 0)
    folder = LogFolder(tmp_path / "logs")
    for log in (*logs.values(), stranger):
        folder.append(log, 0, LINE)
    old, young, live = keys
    world.run_to(old, 0)
    world.run_to(young, 0)
    with world.database.transaction() as tx:
        for key, days in ((old, RETENTION_DAYS + 1), (young, RETENTION_DAYS - 1)):
            tx.execute(
                "update attempts set ended_at = now() - make_interval(days => %s) where (job_id, index, number) = (%s, %s, %s)",
                (days, *key),
            )
    sweep = Sweep(world.database, tmp_path)
    assert (sweep.step(), sweep.step()) == (1, 0)
    kept = [log for log in (*logs.values(), stranger) if folder.state(log).size_bytes]
    assert kept == [logs[young], logs[live], stranger], "what the database does not know is left alone"


def test_all_folders_have_their_turn(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bushel.control.disk_retention.FOLDERS_A_STEP", 2)
    jobs = [world.submit() for _ in range(7)]
    folder = LogFolder(tmp_path / "logs")
    for job in jobs:
        [key] = world.place(job)
        folder.append(LogId(*key, 0), 0, LINE)
        world.run_to(key, 0)
    with world.database.transaction() as tx:
        tx.execute("update attempts set ended_at = now() - interval '1 year'")
    sweep = Sweep(world.database, tmp_path)
    removed = [sweep.step() for _ in range(5)]
    assert sum(removed) == 7
    assert max(removed) <= 2 * 7 // 2
    assert not [path for path in (tmp_path / "logs").rglob("*") if path.is_file()]


@pytest.mark.parametrize(("ended_days_ago", "goes"), [(None, False), (RETENTION_DAYS - 1, False), (RETENTION_DAYS + 1, True)])
def test_an_upload_stays_as_long_as_jobs_may_need_it(world: World, tmp_path: Path, ended_days_ago: int | None, goes: bool) -> None:
    path, digest = upload(world, tmp_path, b"work")
    age(world, path, digest, RETENTION_DAYS + 1)
    job = world.submit()
    with world.database.transaction() as tx:
        tx.execute("update jobs set spec = spec || jsonb_build_object('workdir', %s::text) where id = %s", (digest, job))
        if ended_days_ago is not None:
            tx.execute(
                """
                update jobs set state = 'succeeded', pending = '{}', pending_count = 0, succeeded_count = 1,
                                ended_at = now() - make_interval(days => %s)
                """,
                (ended_days_ago,),
            )
    assert Sweep(world.database, tmp_path).step() == int(goes)
    assert path.exists() is not goes
    assert (digest in known(world.database)) is not goes


def test_an_upload_that_is_young_or_new_again_stays(world: World, tmp_path: Path) -> None:
    young, young_digest = upload(world, tmp_path, b"young")
    age(world, young, young_digest, RETENTION_DAYS - 1)
    again, again_digest = upload(world, tmp_path, b"again")
    age(world, again, again_digest, RETENTION_DAYS + 1)
    upload(world, tmp_path, b"again")  # the file is new, its row is not
    assert Sweep(world.database, tmp_path).step() == 0
    assert young.exists()
    assert again.exists()


STEP = """
import sys
from pathlib import Path
from bushel.control.disk_retention import Sweep
from bushel.store.database import Database
with Database(sys.argv[1]) as database:
    Sweep(database, Path(sys.argv[2])).step()
"""


def test_a_removal_that_is_killed_is_done_by_the_next_one(world: World, tmp_path: Path) -> None:
    path, digest = upload(world, tmp_path, b"work")
    age(world, path, digest, RETENTION_DAYS + 1)
    step = [sys.executable, "-c", STEP, world.database.url, str(tmp_path)]
    killed = subprocess.run(step, env=os.environ | {"BUSHEL_FAILPOINT": "disk_retention.before_upload_removed"}, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert path.exists()
    assert known(world.database) == set()
    subprocess.run(step, check=True, timeout=60)
    assert not path.exists()
