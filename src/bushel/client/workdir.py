"""Pack a folder into one archive that depends on its content alone.

Guarantees: the same files give the same bytes and hence the same digest, whenever and by whomever they are packed; what
`.gitignore` and `.bushelignore` files at any depth leave out is left out, and so is `.git`; nothing outside the folder gets
in, by link or otherwise; a folder past the limit is refused before anything is packed, with its largest parts named.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, BinaryIO, NamedTuple

from bushel.domain.errors import FieldProblem, InvalidDocument, TooLarge

MOST_WORKDIR_BYTES = 1024**3
MOST_WORKDIR_FILES = 100_000

_IN_MEMORY_BYTES = 8 * 1024 * 1024


class Entry(NamedTuple):
    """A file, folder or link of the folder. `name` is relative and uses `/`."""

    name: str
    path: str
    status: os.stat_result


class Packed(NamedTuple):
    """An archive, open at its beginning. The caller closes `file`."""

    digest: str  # sha256:…
    size_bytes: int
    file_count: int
    file: BinaryIO


def pack(
    folder: str | None,
    *,
    extra: Mapping[str, bytes] | None = None,
    without: str | None = None,
    most_bytes: int = MOST_WORKDIR_BYTES,
    most_files: int = MOST_WORKDIR_FILES,
) -> Packed:
    """The folder as a `tar.gz`, with `extra` files (name → content) beside its own. No folder: those alone. The file `without` is left out.

    Raises:
        InvalidDocument: it is no folder, or holds a link that leads out of it.
        TooLarge: it holds more than the limits allow.
    """
    entries: list[Entry] = []
    if folder is not None:
        if not os.path.isdir(folder):
            raise InvalidDocument([FieldProblem("/workdir", f"{folder} is not a folder", "not_a_folder")])
        entries = sorted(entry for entry in walk(folder) if without is None or not _same(entry, without))
        _check_limits(folder, entries, most_bytes, most_files)
    archive = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - handed to the caller
    hashing = _Hashing(archive)
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=hashing, mtime=0) as zipped,  # type: ignore[arg-type]
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in entries:
            _add(tar, folder or "", entry)
        for name, content in sorted((extra or {}).items()):
            member = tarfile.TarInfo(name)
            member.mode, member.size = 0o644, len(content)
            tar.addfile(member, io.BytesIO(content))
    archive.seek(0)
    files = sum(1 for entry in entries if stat.S_ISREG(entry.status.st_mode))
    return Packed(f"sha256:{hashing.digest.hexdigest()}", hashing.size_bytes, files, archive)  # type: ignore[arg-type]


def walk(folder: str) -> Iterator[Entry]:
    """What belongs to the folder, in no particular order. Sockets, pipes and devices do not."""
    pending: list[tuple[str, list[_Ignore]]] = [("", [])]
    while pending:
        prefix, ignores = pending.pop()
        here = os.path.join(folder, prefix)
        own = _read_ignore(here, prefix)
        if own is not None:
            ignores = [own, *ignores]
        with os.scandir(here) as listing:
            for item in listing:
                name = prefix + item.name
                is_folder = item.is_dir(follow_symlinks=False)
                if item.name == ".git" or _ignored(name + "/" if is_folder else name, ignores):
                    continue
                status = item.stat(follow_symlinks=False)
                if is_folder:
                    pending.append((name + "/", ignores))
                elif not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                    continue
                yield Entry(name, item.path, status)


def _same(entry: Entry, path: str) -> bool:
    return os.path.basename(path) == os.path.basename(entry.name) and os.path.realpath(path) == os.path.realpath(entry.path)


class _Ignore(NamedTuple):
    prefix: str
    spec: object


IGNORE_FILES = (".gitignore", ".bushelignore")
"""In the order in which they are read: where both have an opinion, the last one's holds."""


def _read_ignore(folder: str, prefix: str) -> _Ignore | None:
    lines: list[str] = []
    for name in IGNORE_FILES:
        with (
            suppress(OSError),
            open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as file,
        ):
            lines += file.read().splitlines()
    if not lines:
        return None
    from pathspec import GitIgnoreSpec

    return _Ignore(prefix, GitIgnoreSpec.from_lines(lines))


def _ignored(name: str, ignores: list[_Ignore]) -> bool:
    """The innermost folder with an opinion decides."""
    for prefix, spec in ignores:
        verdict = spec.check_file(name[len(prefix) :]).include  # type: ignore[attr-defined]
        if verdict is not None:
            return verdict
    return False


def _check_limits(folder: str, entries: list[Entry], most_bytes: int, most_files: int) -> None:
    if len(entries) > most_files:
        raise TooLarge(
            f"{folder} holds {len(entries):,} files; at most {most_files:,} can be uploaded. Most lie in {_fullest(entries)}",
            suggestion="name what the job does not need in .gitignore",
        )
    sizes = {entry.name: entry.status.st_size for entry in entries if stat.S_ISREG(entry.status.st_mode)}
    total = sum(sizes.values())
    if total > most_bytes:
        largest = sorted(sizes.items(), key=lambda pair: -pair[1])[:5]
        named = ", ".join(f"{name} ({_size(size)})" for name, size in largest)
        raise TooLarge(
            f"{folder} holds {_size(total)}; at most {_size(most_bytes)} can be uploaded. The largest files: {named}",
            suggestion="name what the job does not need in .gitignore",
        )


def _fullest(entries: list[Entry]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for entry in entries:
        counts[entry.name.rpartition("/")[0] or "."] += 1
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items(), key=lambda pair: -pair[1])[:3])


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def _add(tar: tarfile.TarFile, folder: str, entry: Entry) -> None:
    member = tarfile.TarInfo(entry.name)
    mode = entry.status.st_mode
    if stat.S_ISDIR(mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(member)
    elif stat.S_ISLNK(mode):
        member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, _link_inside(folder, entry)
        tar.addfile(member)
    else:
        member.mode = 0o755 if mode & stat.S_IXUSR else 0o644
        with open(entry.path, "rb") as file:
            member.size = os.fstat(file.fileno()).st_size
            tar.addfile(member, file)


def _link_inside(folder: str, entry: Entry) -> str:
    target = os.readlink(entry.path)
    landing = os.path.normpath(os.path.join(os.path.dirname(entry.name), target))
    if os.path.isabs(target) or landing == ".." or landing.startswith("../"):
        message = f"{entry.name} in {folder} is a link to {target}, outside of the folder"
        raise InvalidDocument([FieldProblem("/workdir", message, "link_outside", "name it in .gitignore, or copy what it points to")])
    return target


class _Hashing:
    """A file that hashes and counts what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
