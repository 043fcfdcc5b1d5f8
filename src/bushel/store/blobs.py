"""Uploaded files, kept by the digest of their content: bytes in a folder, who may use them in the database.

Guarantees: a row of `blobs` exists only once the whole file, verified, is on disk; a file gets its name only when it is whole; the
same content twice is one file. A file without a row is of no use to anybody, and is put in its place again by the next upload.
Whoever names or removes a file holds the lock of `lock_file`; whoever submits a job that needs one holds its row.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from bushel.domain.errors import DiskFull, FieldProblem, InvalidDocument
from bushel.domain.failpoints import reach
from bushel.store.database import Transaction

_ABANDONED_SECONDS = 86400

_INSERT = """
    insert into blobs (project_id, digest, size_bytes, uploaded_by) values (%s, %s, %s, %s)
    on conflict (project_id, digest) do nothing returning 1 as inserted
"""

_FORGET = """
    delete from blobs b
    where b.project_id = %(project)s and b.digest = %(digest)s and not exists (
        select from jobs j
        where j.project_id = b.project_id and j.spec ->> 'workdir' = b.digest
              and (j.ended_at is null or j.ended_at > now() - make_interval(days => %(days)s))
    )
"""


class Incoming:
    """A file on its way in. `write` is called from one thread at a time."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self.size_bytes = 0
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """
        Raises:
            DiskFull: there is no room.
        """
        try:
            written = 0
            while written < len(data):
                written += self._file.write(memoryview(data)[written:])
        except OSError as error:
            raise _no_room(error) from error
        self._hash.update(data)
        self.size_bytes += len(data)

    def verify(self, digest: str) -> None:
        """All has come: check what it is, and see that it survives a power cut.

        Raises:
            InvalidDocument: it is other content than was said.
        """
        came = f"sha256:{self._hash.hexdigest()}"
        if came != digest:
            raise InvalidDocument([FieldProblem("/path/digest", f"the content sent has the digest {came}", "digest")])
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _no_room(error) from error


class BlobFolder:
    """`blobs/` under the state folder of the control plane: `<project number>/<two letters>/<digest>`."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder / "blobs"

    def path(self, project_id: int, digest: str) -> Path:
        """Where the content of `digest`, `sha256:…`, lies."""
        letters = digest.removeprefix("sha256:")
        if len(letters) != 64 or not set(letters) <= set("0123456789abcdef"):
            raise ValueError(f"{digest!r} is no digest")
        return self._folder / str(project_id) / letters[:2] / letters

    def folders(self) -> list[Path]:
        """Those that hold files, in order."""
        return sorted(path for path in self._folder.glob("*/??") if path.parent.name.isdigit())

    def files(self, folder: Path) -> Iterator[tuple[Path, int, str]]:
        """Each with its project and digest."""
        for path in sorted(folder.iterdir()):
            yield path, int(folder.parent.name), f"sha256:{path.name}"

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """A new file that is gone at the end of the block unless it was kept."""
        folder = self._folder / "incoming"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / secrets.token_hex(16)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                yield Incoming(path, file)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, incoming: Incoming, project_id: int, digest: str) -> None:
        """Give a verified file its name."""
        target = self.path(project_id, digest)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        reach("blobs.before_rename")
        incoming.path.replace(target)
        for folder in (target.parent, target.parent.parent):
            _sync_folder(folder)
        reach("blobs.after_rename")

    def remove_abandoned(self) -> None:
        """Forget uploads that a crash broke off more than a day ago."""
        horizon = time.time() - _ABANDONED_SECONDS
        for path in (self._folder / "incoming").glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < horizon:
                    path.unlink()


def find(tx: Transaction, project_id: int, digest: str) -> dict[str, Any] | None:
    """A blob of the project: `digest`, `size_bytes`, `created_at`."""
    return tx.first("select digest, size_bytes, created_at from blobs where project_id = %s and digest = %s", (project_id, digest))


def insert(tx: Transaction, project_id: int, digest: str, size_bytes: int, uploaded_by: int) -> bool:
    """Whether it was not there before."""
    return tx.first(_INSERT, (project_id, digest, size_bytes, uploaded_by)) is not None


def lock_file(tx: Transaction, project_id: int, digest: str) -> None:
    """Until the end of the transaction nobody else names or removes this file."""
    tx.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"blob {project_id} {digest}",))


def forget_unused(tx: Transaction, project_id: int, digest: str, days: int) -> bool:
    """Whether nobody may use it from now on: it was made, and the last job with it ended, at least `days` ago."""
    row = tx.first(
        """
        select created_at < now() - make_interval(days => %s) as old from blobs
        where project_id = %s and digest = %s for update
        """,
        (days, project_id, digest),
    )
    if row is not None and row["old"]:  # jobs that were being submitted when it was locked are there now
        tx.execute(_FORGET, {"project": project_id, "digest": digest, "days": days})
    return find(tx, project_id, digest) is None


def _no_room(error: OSError) -> OSError | DiskFull:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the volume for uploads is full", suggestion="make room under blobs/ in the state folder")
    return error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
