"""Folders of tasks that have ended, used again for others.

Making and removing the files of a small task can cost more than the task; on some file systems the more, the more were removed lately.

    spares/k7q2m.17.2.0~5.12    put aside by the fifth start of the agent as its twelfth; empty record: kept for another task

Guarantees: a folder is kept only if its task left it as it was made: nothing printed, nothing in the working folder, never asked to
stop. It is emptied under the lock of its record, and not while somebody else holds that, so a late copy of the old task's request can
neither start in it nor harm the new one: `folder.claim` looks again at where the record lies. Everything else is deleted. Of an
attempt of many ranks none is emptied or deleted before all are put aside, so an agent that dies between two of them has left a
record of the end, by which the next one knows that the rest is to go too (`forgotten`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading

from bushel.agent.executors.local import folder
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SPARES_LIMIT = 64

_MARK = "~"
_AS_MADE = {folder.RECORD, folder.STOP, folder.WORK}


class Spares:
    """`clear` and `clear_left` are for one thread alone."""

    def __init__(self, tasks_folder: str, spares_folder: str, generation: int) -> None:
        self._tasks_folder = tasks_folder
        self._spares_folder = spares_folder
        self._generation = generation
        self._count = 0
        self._paths: list[str] = []
        self._lock = threading.Lock()

    def take(self, key: str) -> bool:
        """Give the task a spare folder, if there is one. False: there is none.

        Raises:
            FileExistsError: the task has a folder already.
        """
        with self._lock:
            spare = self._paths.pop() if self._paths else None
        if spare is None:
            return False
        path = f"{self._tasks_folder}/{key}"
        try:
            os.rename(spare, path)
        except OSError:
            shutil.rmtree(spare, ignore_errors=True)
            if os.path.exists(path):
                raise FileExistsError(path) from None
            return False
        return True

    def put_aside(self, keys: Sequence[str]) -> list[tuple[str, int | None]]:
        """Take the folders of an attempt's tasks away, so that half of one is never taken for a task. Each is to be handed to `clear`."""
        aside = []
        for key in keys:
            path = f"{self._tasks_folder}/{key}"
            reach("spares.before_aside")
            with contextlib.suppress(OSError):
                lock = folder.lock_record(path)
                self._count += 1
                spare = f"{self._spares_folder}/{key}{_MARK}{self._generation}.{self._count}"
                try:
                    os.rename(path, spare)
                except OSError:
                    if lock is not None:
                        os.close(lock)
                    raise
                aside.append((spare, lock))
        return aside

    def clear(self, path: str, lock: int | None) -> None:
        """Keep the folder or delete it. `lock` is let go."""
        try:
            if lock is not None and len(self._paths) < SPARES_LIMIT and _is_as_made(path):
                reach("spares.before_empty")
                os.ftruncate(lock, 0)
                reach("spares.after_empty")
                with self._lock:
                    self._paths.append(path)
                return
        except OSError:
            pass  # then it is deleted
        finally:
            if lock is not None:
                os.close(lock)
        shutil.rmtree(path, ignore_errors=True)

    def forgotten(self) -> set[str]:
        """Attempts of which an agent before this one had put aside a task that had ended."""
        attempts = set()
        for name in os.listdir(self._spares_folder):
            _, end, _ = folder.read_record(f"{self._spares_folder}/{name}")
            if end is not None:
                attempts.add(folder.parse_task_key(name.partition(_MARK)[0])[0])
        return attempts

    def clear_left(self) -> None:
        """Delete what agents before this one had put aside or kept."""
        ours = f"{_MARK}{self._generation}."
        for name in os.listdir(self._spares_folder):
            if ours not in name:
                shutil.rmtree(f"{self._spares_folder}/{name}", ignore_errors=True)


def _is_as_made(path: str) -> bool:
    if stat.S_IMODE(os.lstat(path).st_mode) != folder.FOLDER_MODE or set(os.listdir(path)) != _AS_MADE:
        return False
    if not folder.is_reserved(f"{path}/{folder.STOP}"):
        return False
    work = os.lstat(f"{path}/{folder.WORK}")
    ours = stat.S_ISDIR(work.st_mode) and work.st_uid == os.geteuid() and stat.S_IMODE(work.st_mode) == folder.WORK_MODE
    return ours and not os.listdir(f"{path}/{folder.WORK}")
