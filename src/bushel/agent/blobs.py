"""Workdir archives on this machine, by the digest of their content.

Guarantees: what lies in the cache has the digest of its name: it is checked while it is stored, and stored under its
name only then; each archive is fetched once at a time, however many attempts wait for it; what was not used for a day
goes when the cache is larger than its limit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import threading
import time

from bushel.client.http1 import TransportFailure, quote
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bushel.client.transport import Transport

    Done = Callable[[str | None, str | None], None]

CACHE_LIMIT_BYTES = 20 * 1024**3
UNUSED_SECONDS = 86400.0
TIMEOUT_SECONDS = 600.0
TRIES = 5
_THREADS = 2
_CHUNK_BYTES = 1024 * 1024


class BlobCache:
    def __init__(self, transport: Transport, folder: str) -> None:
        self._transport = transport
        self._folder = folder
        self._waiting: dict[str, list[Done]] = {}
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"blobs {number}", daemon=True) for number in range(_THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for _ in self._threads:
            self._queue.put(None)

    def fetch(self, project: str, digest: str, done: Done) -> None:
        """Call `done` with the path of the archive, or with None and a sentence; from a thread of the cache."""
        with self._lock:
            waiting = self._waiting.get(digest)
            if waiting is not None:
                waiting.append(done)
                return
            self._waiting[digest] = [done]
        self._queue.put((project, digest))

    def _run(self) -> None:
        while (wanted := self._queue.get()) is not None:
            project, digest = wanted
            path = message = None
            try:
                path = self._ensure(project, digest)
            except Unusable as error:
                message = str(error)
            except Exception as error:
                message = f"the workdir could not be fetched: {error}"
            with self._lock:
                waiting = self._waiting.pop(digest)
            for done in waiting:
                done(path, message)

    def _ensure(self, project: str, digest: str) -> str:
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
            raise Unusable(f"{digest!r} is not the digest of a workdir")
        path = f"{self._folder}/{value}"
        if os.path.exists(path):
            with contextlib.suppress(OSError):
                os.utime(path)
            return path
        self._make_room()
        for left in range(TRIES - 1, -1, -1):
            try:
                self._download(project, digest, path)
                return path
            except (TransportFailure, OSError) as failure:
                if not left:
                    raise Unusable(f"the workdir could not be fetched: {failure}") from failure
                time.sleep(0.2 * 2 ** (TRIES - left))
        raise AssertionError

    def _download(self, project: str, digest: str, path: str) -> None:
        part = f"{path}.{threading.get_ident()}~"
        try:
            with open(part, "w+b") as file:
                status, _ = self._transport.download(
                    f"/v1/agent/blobs/{quote(project, keep='/')}/{quote(digest, keep=':')}", file, timeout=TIMEOUT_SECONDS
                )
                if status == 404:
                    raise Unusable("the workdir is not stored any more: submit the job again")
                if status != 200:
                    raise OSError(f"the control plane answered {status}")
                file.seek(0)
                found = hashlib.sha256()
                while chunk := file.read(_CHUNK_BYTES):
                    found.update(chunk)
            if found.hexdigest() != digest.partition(":")[2]:
                raise OSError("what arrived has another digest")
            reach("blobs.before_store")
            os.rename(part, path)
            reach("blobs.after_store")
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)

    def _make_room(self) -> None:
        with os.scandir(self._folder) as found:
            entries = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in found if entry.is_file())
        total = sum(size for _, size, _ in entries)
        for used_at, size, path in entries:
            if total <= CACHE_LIMIT_BYTES or used_at > time.time() - UNUSED_SECONDS:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
                total -= size


class Unusable(Exception):
    """The archive cannot be had, and trying again would not help. The text is for the job's owner."""
