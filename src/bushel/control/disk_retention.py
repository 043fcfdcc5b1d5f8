"""Keeping the state folder bounded: logs and uploads that were kept long enough are removed.

Guarantees: a log is kept for `RETENTION_DAYS` after its attempt ended, an upload for as long after it was made and after the last job
that uses it ended; a log that goes keeps its length, so that readers are told what was dropped. Each step looks at a few folders and
goes on where the one before stopped; a step that was cut off is done by a later one. Only what the database knows to be over is removed.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bushel.control.runner import Step
from bushel.domain.failpoints import reach
from bushel.domain.ids import decode_job_id
from bushel.store import blobs
from bushel.store.blobs import BlobFolder
from bushel.store.database import Database
from bushel.store.leases import Lease

RETENTION_DAYS = 30

FOLDERS_A_STEP = 64
"""Of logs there are up to 1,024, by the last letters of the job; of uploads up to 256 a project."""

BATCH = 1000

log = logging.getLogger("bushel.control")

_OVER = """
    select a.job_id, a.index, a.number
    from attempts a join unnest(%s::bigint[], %s::int[], %s::int[]) k (job_id, index, number) using (job_id, index, number)
    where a.state = 'ended' and a.ended_at < now() - make_interval(days => %s)
"""


def start(state_folder: Path, database: Database, _lease: Lease) -> Step:
    """The step of one term of leadership; where it stands is kept in memory. Two that do this at once would do no harm."""
    return Sweep(database, state_folder).step


class Sweep:
    """Goes round the folders again and again."""

    def __init__(self, database: Database, state_folder: Path) -> None:
        self._database = database
        self._logs = state_folder / "logs"
        self._blobs = BlobFolder(state_folder)
        self._after: dict[str, str] = {}

    def step(self) -> int:
        """How many logs and uploads were removed."""
        removed_logs = sum(map(self._sweep_logs, self._next("logs", _below(self._logs))))
        removed_uploads = sum(map(self._sweep_blobs, self._next("blobs", self._blobs.folders())))
        if removed_logs or removed_uploads:
            log.info("removed logs=%d uploads=%d, past their retention", removed_logs, removed_uploads)
        return removed_logs + removed_uploads

    def _next(self, kind: str, folders: Sequence[Path]) -> list[Path]:
        """Those behind the last that were looked at; from the first again once all were."""
        after = self._after.get(kind, "")
        following = [folder for folder in folders if str(folder) > after][:FOLDERS_A_STEP]
        self._after[kind] = str(following[-1]) if len(following) == FOLDERS_A_STEP else ""
        return following

    def _sweep_logs(self, folder: Path) -> int:
        removed = 0
        found = ((path, key) for path in _logs_in(folder) if (key := _attempt_of(path)) is not None)
        while batch := list(itertools.islice(found, BATCH)):
            with self._database.transaction() as tx:
                columns = [list(column) for column in zip(*(key for _, key in batch), strict=True)]
                over = {(row["job_id"], row["index"], row["number"]) for row in tx.all(_OVER, (*columns, RETENTION_DAYS))}
            for path, key in batch:
                if key in over:
                    _remove_log(path)
                    removed += 1
        return removed

    def _sweep_blobs(self, folder: Path) -> int:
        removed = 0
        horizon = time.time() - RETENTION_DAYS * 86400
        for path, project_id, digest in self._blobs.files(folder):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < horizon:
                    removed += self._remove_blob(path, project_id, digest)
        return removed

    def _remove_blob(self, path: Path, project_id: int, digest: str) -> bool:
        """First nobody may use it any more, then it goes, unless it was uploaded again between the two."""
        with self._database.transaction() as tx:
            if not blobs.forget_unused(tx, project_id, digest, RETENTION_DAYS):
                return False
        reach("disk_retention.before_upload_removed")
        with self._database.transaction() as tx:
            blobs.lock_file(tx, project_id, digest)
            if blobs.find(tx, project_id, digest) is not None:
                return False
            path.unlink(missing_ok=True)
        return True


def _logs_in(folder: Path) -> Iterator[Path]:
    """One by one: an array may have a million."""
    for job in _below(folder):
        with suppress(FileNotFoundError), os.scandir(job) as entries:
            yield from (Path(entry.path) for entry in entries)


def _below(folder: Path) -> list[Path]:
    """Its folders, in order."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    return []


def _attempt_of(path: Path) -> tuple[int, int, int] | None:
    """`…/k7q2m/17.2.0` is of the second attempt of index 17."""
    with suppress(ValueError):
        index, attempt, _ = map(int, path.name.split("."))
        return decode_job_id(path.parent.name), index, attempt
    return None


def _remove_log(path: Path) -> None:
    """With the folder of its job if it was the last. Whoever appends or reads holds on to what it has open."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            shutil.rmtree(path)
        finally:
            os.close(descriptor)
    with suppress(OSError):  # not empty
        path.parent.rmdir()
