"""Unpacking a workdir that somebody else packed.

Guarantees: nothing is written outside the target folder, whatever the archive says: no absolute names, no `..`, no
links that lead out, no writing through a link, no devices, no set-uid bits; the number of entries and the sum of
their sizes are bounded, and counted as they are written, not as they are claimed. A breach raises `BadArchive` with
the entry's name; what was written before stays.
"""

from __future__ import annotations

import errno
import lzma
import os
import posixpath
import sys
import tarfile
import zlib

ENTRIES_LIMIT = 200_000
SIZE_LIMIT_BYTES = 20 * 1024**3
NAME_LIMIT_BYTES = 4096
_CHUNK_BYTES = 256 * 1024


class BadArchive(Exception):
    """The archive is damaged or hostile. The text is a sentence for its owner."""


def unpack(archive: str, target: str, *, entries_limit: int = ENTRIES_LIMIT, size_limit_bytes: int = SIZE_LIMIT_BYTES) -> None:
    """Unpack a tar archive, compressed or not, into an existing folder.

    Raises:
        BadArchive: see the module.
        OSError: the disk did not take it.
    """
    links: list[tuple[str, str]] = []
    left = size_limit_bytes
    try:
        with tarfile.open(archive, "r|*") as tar:
            for number, entry in enumerate(tar):
                if number >= entries_limit:
                    raise BadArchive(f"the archive has more than {entries_limit} entries")
                name = _checked_name(entry.name)
                if name == ".":
                    continue
                path = os.path.join(target, name)
                if entry.isdir():
                    os.makedirs(path, exist_ok=True)
                elif entry.isreg():
                    left -= _write(tar, entry, path, left)
                elif entry.issym():
                    links.append((_checked_link(name, entry.linkname), path))
                elif entry.islnk():
                    _link(os.path.join(target, _checked_name(entry.linkname)), path, entry.name)
                else:
                    raise BadArchive(f"the archive holds {entry.name!r}, which is neither a file, a folder nor a link")
    except (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise BadArchive(f"the archive is damaged: {error}") from error
    except RecursionError as error:
        raise BadArchive("the archive is damaged: its headers nest too deep") from error
    for link, path in links:  # last, so that nothing is ever written through one
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            raise BadArchive(f"the archive holds {os.path.relpath(path, target)!r} twice")
        os.symlink(link, path)


def _checked_name(name: str) -> str:
    if not name or "\0" in name or len(os.fsencode(name)) > NAME_LIMIT_BYTES:
        raise BadArchive("the archive holds an entry without a usable name")
    if name.startswith("/") or ".." in name.split("/"):
        raise BadArchive(f"the archive holds {name!r}, which lies outside the workdir")
    return posixpath.normpath(name)


def _checked_link(name: str, link: str) -> str:
    if link.startswith("/") or "\0" in link:
        raise BadArchive(f"the archive holds the link {name!r} to {link!r}, which lies outside the workdir")
    if posixpath.normpath(posixpath.join(posixpath.dirname(name), link)).split("/")[0] == "..":
        raise BadArchive(f"the archive holds the link {name!r} to {link!r}, which lies outside the workdir")
    return link


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: str, most_bytes: int) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        raise BadArchive(f"the archive holds {entry.name!r} twice")
    content = tar.extractfile(entry)
    if content is None:
        raise BadArchive(f"the archive holds {entry.name!r} without its content")
    written = 0
    mode = 0o755 if entry.mode & 0o100 else 0o644
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        while chunk := content.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > most_bytes:
                raise BadArchive("the archive's files are larger than the limit for a workdir")
            file.write(chunk)
    if written < entry.size:
        raise BadArchive(f"the archive is damaged: it ends inside {entry.name!r}")
    os.utime(path, (entry.mtime, entry.mtime))
    return written


def _link(existing: str, path: str, name: str) -> None:
    if not os.path.isfile(existing) or os.path.islink(existing):
        raise BadArchive(f"the archive holds the link {name!r} to a file that is not in it")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        raise BadArchive(f"the archive holds {name!r} twice")
    os.link(existing, path)


def main() -> None:
    """`ARCHIVE FOLDER`, as a step of a task. Says on standard output why it failed.

    Exit code 65 for the archive's fault, 74 for a full disk.
    """
    try:
        unpack(sys.argv[1], sys.argv[2])
    except BadArchive as error:
        print(error)
        sys.exit(65)
    except OSError as error:
        print(f"the workdir could not be unpacked: {error.strerror} ({error.filename})")
        sys.exit(74 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 65)
