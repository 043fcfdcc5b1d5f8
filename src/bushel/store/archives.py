"""Look through an uploaded archive of a folder before anybody unpacks it.

Guarantees: what passes is a whole `tar.gz` of files, folders and links; no member lies outside the folder, by name, by link, or by a
link in the middle of its path; unpacked it has at most `MOST_MEMBERS` members and `MOST_UNPACKED_BYTES`. The check needs memory
for names only, whatever the archive claims of itself.

A link may begin with `..` but not have it later on. Since no member lies behind a link, the folder of a link is real, so its
leading `..` stay within the archive's folder if they are no more than it is deep, and what follows leads down, or over other links.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path

from bushel.domain.errors import FieldProblem, InvalidDocument, TooLarge

MOST_MEMBERS = 200_000
MOST_UNPACKED_BYTES = 4 * 1024**3
MOST_RATIO = 200
"""Times that an archive may grow, once it is larger than `RATIO_FREE_BYTES`."""

RATIO_FREE_BYTES = 1024**3
_MOST_PATH_BYTES = 4096
_MOST_HEADER_BYTES = 256 * 1024
_HEADERS = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)  # fmt: skip


def check_archive(path: Path) -> None:
    """
    Raises:
        InvalidDocument: it is no archive, or one that reaches out of its folder.
        TooLarge: unpacked it would be larger than the limits.
    """
    members = _Members()
    try:
        with gzip.open(path) as unzipped, tarfile.open(fileobj=_Counted(unzipped, path.stat().st_size), mode="r|", tarinfo=_Member) as tar:
            for member in tar:
                members.add(member)
                tar.members.clear()  # type: ignore[attr-defined]  # otherwise it keeps all of them
            _drain(unzipped)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError, RecursionError) as error:
        raise _refused(f"not a whole tar.gz archive ({error})") from error
    members.check()


class _Members:
    """Names seen so far."""

    def __init__(self) -> None:
        self.links: set[str] = set()
        self.files: set[str] = set()
        self.folders: set[str] = set()

    def add(self, member: tarfile.TarInfo) -> None:
        name = _inside(member.name, member.name)
        if len(self.links) + len(self.files) + len(self.folders) >= MOST_MEMBERS:
            raise TooLarge(f"the archive has more than {MOST_MEMBERS} members, which is the most")
        if member.isdir():
            self.folders.add(name)
            return
        if name in self.files or name in self.links or not name:
            raise _refused(f"{_shown(member.name)} is in the archive twice")
        if member.issym():
            _check_link(name, member)
            self.links.add(name)
        elif member.islnk():
            if _inside(member.linkname, member.name) not in self.files:
                raise _refused(f"{_shown(member.name)} is a hard link to {_shown(member.linkname)}, which is no file before it")
            self.files.add(name)
        elif member.isreg() and not member.issparse():
            self.files.add(name)
        else:
            raise _refused(f"{_shown(member.name)} is neither a file, nor a folder, nor a link")

    def check(self) -> None:
        """What can be said only of the whole: nothing lies behind a link or a file."""
        for name in (*self.folders, *self.files, *self.links):
            if name in self.folders and (name in self.links or name in self.files):
                raise _refused(f"{_shown(name)} is in the archive twice")
            above = name
            while above := above.rpartition("/")[0]:
                if above in self.links or above in self.files:
                    raise _refused(f"{_shown(name)} lies behind {_shown(above)}, which is no folder")


def _inside(path: str, told: str) -> str:
    """A member's path without `.` parts."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise _refused(f"{_shown(told)} leads out of the folder")
    if len(path) > _MOST_PATH_BYTES:
        raise _refused(f"{_shown(told)} is longer than {_MOST_PATH_BYTES} characters")
    return "/".join(parts)


def _check_link(name: str, member: tarfile.TarInfo) -> None:
    target = member.linkname
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((position for position, part in enumerate(parts) if part != ".."), len(parts))
    if target.startswith("/") or "\0" in target or not target or ups > name.count("/") or ".." in parts[ups:]:
        raise _refused(f"{_shown(member.name)} is a link to {_shown(target)}, which leads out of the folder or may do so")


class _Member(tarfile.TarInfo):
    """Refuses headers that would be read into memory whole and are larger than any name."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > _MOST_HEADER_BYTES:
            raise tarfile.HeaderError(f"a header of {self.size} bytes")
        if self.size < 0:
            raise tarfile.HeaderError("a member of negative size")
        return super()._proc_member(tar)  # type: ignore[misc]


class _Counted(io.RawIOBase):
    """What comes out of an archive, until it is too much."""

    def __init__(self, file: gzip.GzipFile, packed_bytes: int) -> None:
        self._file = file
        self._packed_bytes = packed_bytes
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._count += len(data)
        if self._count > MOST_UNPACKED_BYTES:
            raise TooLarge(f"the archive is larger than {MOST_UNPACKED_BYTES} bytes when it is unpacked, which is the most")
        if self._count > RATIO_FREE_BYTES and self._count > self._packed_bytes * MOST_RATIO:
            raise TooLarge(f"the archive grows to more than {MOST_RATIO} times its size when it is unpacked, which is the most")
        return data


def _drain(file: gzip.GzipFile) -> None:
    """To the end, so that the checksum is verified; little may follow the archive."""
    left = 16 * 1024 * 1024
    while left > 0 and (data := file.read(64 * 1024)):
        left -= len(data)
    if left <= 0:
        raise _refused("something follows the end of the archive")


def _refused(sentence: str) -> InvalidDocument:
    return InvalidDocument([FieldProblem("", sentence, "archive")])


def _shown(name: str) -> str:
    text = name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return repr(text if len(text) <= 200 else text[:200] + "…")
