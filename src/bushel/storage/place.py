"""A place for objects: a folder or a prefix in a bucket, through obstore.

Guarantees:

- An object gets its name only when it is whole. `put_file` returns once the object is durable and has been verified: a folder's files
  and the folders that name them are flushed; a bucket checked the SHA-256 that was sent, and afterwards has an object of that size
  (where the place says `read_back`, the object was read again and hashed).
- Names are made of content, so writing one again changes nothing. Objects are made with `If-None-Match` where they fit one request;
  a store that forgets it writes the same bytes over themselves.
- What fails for a while (5xx, dropped connections, time-outs) is tried again, for `RETRY_SECONDS` at most; then `PlaceUnavailable`.
- A reader gets exactly the bytes of the digest it asked for, or an error.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import LocalStore, S3Store

from bushel.domain.failpoints import reach

RETRY_SECONDS = 60.0
MOST_RETRIES = 10
TIMEOUT_SECONDS = 60
ONE_REQUEST_BYTES = 64 * 2**20
"""Objects up to this are made by one conditional request, larger ones by multipart."""

CHUNK_BYTES = 16 * 2**20
_READ_BYTES = 2**20
FRESH = timedelta(days=1)
"""An object younger than this is not written again; an older one is, so that the sweep sees that somebody wants it."""


class PlaceError(Exception):
    """What was asked of a place could not be done."""


class PlaceUnavailable(PlaceError):
    """The place did not answer, or answered with errors, for as long as one may wait."""


class PlaceFull(PlaceError):
    """There is no room."""


class Missing(PlaceError):
    """There is no such object."""


class Damaged(PlaceError):
    """An object is not what its digest says."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object that is there. `name` is relative to the place."""

    name: str
    size_bytes: int
    changed_at: datetime


@dataclass(frozen=True)
class Place:
    """Opened by `open_place`."""

    name: str
    url: str
    folder: Path | None
    read_back: bool = False
    _store: Any = field(default=None, repr=False)

    def put_file(self, path: Path, name: str, digest: str) -> None:
        """Make the object `name` out of the file at `path`, whose content has `digest`.

        Raises:
            PlaceUnavailable, PlaceFull: it was not made.
            Damaged: what was stored is not what was sent.
        """
        size = path.stat().st_size
        if self._has(name, size):
            return
        with _Understood(self, name):
            if self.folder is not None:
                self._copy_in(self.folder, path, name, digest)
            elif size > ONE_REQUEST_BYTES:
                obstore.put(self._store, name, path, use_multipart=True, chunk_size=CHUNK_BYTES, max_concurrency=4)
            else:
                self._create(name, path.read_bytes())
            reach("place.after_put")
            self._verify(name, size, digest)

    def put_bytes(self, data: bytes, name: str, digest: str) -> None:
        """As `put_file`."""
        if self._has(name, len(data)):
            return
        with _Understood(self, name):
            if self.folder is not None:
                _write_in(self.folder, [data], name)
            else:
                self._create(name, data)
            self._verify(name, len(data), digest)

    def read(self, name: str, *, most_bytes: int = 2**30) -> bytes:
        """A small object.

        Raises:
            Missing: it is not there.
            PlaceError: it is larger than `most_bytes`, or the place does not answer.
        """
        with _Understood(self, name):
            answer = obstore.get(self._store, name)
            if answer.meta["size"] > most_bytes:
                raise PlaceError(f"{self.name}: {name} has {answer.meta['size']} bytes, which is more than {most_bytes}")
            return bytes(answer.bytes())

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of an object, a megabyte or more at a time."""
        with _Understood(self, name):
            for chunk in obstore.get(self._store, name).stream(min_chunk_size=_READ_BYTES):
                yield bytes(chunk)

    def fetch(self, name: str, target: Path, digest: str) -> None:
        """Write the object to `target`, which gets its name only when it is whole and has `digest`.

        Raises:
            Damaged: it is other content.
        """
        partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}~")
        hashed = hashlib.sha256()
        try:
            with open(partial, "xb") as file:
                for chunk in self.chunks(name):
                    hashed.update(chunk)
                    file.write(chunk)
            _insist(self, name, hashed, digest)
            partial.replace(target)
        except OSError as error:
            raise _of_os(error, str(target)) from error
        finally:
            partial.unlink(missing_ok=True)

    def check(self, name: str, size_bytes: int, digest: str) -> None:
        """Read an object and compare.

        Raises:
            Missing: it is not there.
            Damaged: it is other content.
        """
        hashed, length = hashlib.sha256(), 0
        for chunk in self.chunks(name):
            hashed.update(chunk)
            length += len(chunk)
        if length != size_bytes:
            raise Damaged(f"{self.name}: {name} has {length} bytes and should have {size_bytes}")
        _insist(self, name, hashed, digest)

    def find(self, name: str) -> Found | None:
        try:
            with _Understood(self, name):
                about = obstore.head(self._store, name)
        except Missing:
            return None
        return Found(name, about["size"], about["last_modified"])

    def list(self, prefix: str) -> Iterator[Found]:
        """Every object below `prefix`, a folder's name."""
        with _Understood(self, prefix):
            for batch in obstore.list(self._store, prefix):
                for about in batch:
                    yield Found(about["path"], about["size"], about["last_modified"])

    def folders(self, prefix: str) -> list[str]:
        """Names of what lies directly below `prefix` as folders."""
        with _Understood(self, prefix):
            return [found.rsplit("/", 1)[-1] for found in obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]]

    def remove(self, names: list[str]) -> None:
        """Objects that are not there are no error."""
        if self.folder is not None:
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            for parent in {(self.folder / name).parent for name in names}:
                _remove_empty(parent, self.folder)
            return
        with _Understood(self, names[0] if names else ""):
            obstore.delete(self._store, names)

    # Parts of writing ----------------------------------------------------------------------------------------------------

    def _has(self, name: str, size: int) -> bool:
        found = self.find(name)
        return found is not None and found.size_bytes == size and datetime.now(UTC) - found.changed_at < FRESH

    def _create(self, name: str, data: bytes) -> None:
        try:
            obstore.put(self._store, name, data, mode="create", use_multipart=False)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            # Made by somebody else, by an earlier try of ours whose answer was lost, or long ago: the same bytes in any case,
            # unless a store lost some. Written over, it is whole, and young.
            obstore.put(self._store, name, data, use_multipart=False)
        except exceptions.NotSupportedError:
            obstore.put(self._store, name, data, use_multipart=False)

    def _copy_in(self, folder: Path, path: Path, name: str, digest: str) -> None:
        hashed = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            with open(path, "rb") as file:
                while data := file.read(_READ_BYTES):
                    hashed.update(data)
                    yield data

        _write_in(folder, pieces(), name)
        _insist(self, name, hashed, digest)

    def _verify(self, name: str, size: int, digest: str) -> None:
        found = self.find(name)
        if found is None or found.size_bytes != size:
            raise Damaged(f"{self.name}: {name} has {found and found.size_bytes} bytes after {size} were sent")
        if self.read_back:
            self.check(name, size, digest)


def open_place(place: Mapping[str, Any], values: Mapping[str, str] | None = None) -> Place:
    """`place` has name, url, options and secrets; `values` has the secrets' values by their names, as a task's environment does.

    Raises:
        PlaceError: it cannot be opened: the folder is not there, or a secret is missing.
    """
    url, options = place["url"], place.get("options") or {}
    if not url.startswith("s3://"):
        folder = Path(url)
        if not folder.is_dir():
            raise PlaceError(f"the folder {url} of the place {place['name']} is not here: make it on this machine, or mount it")
        return Place(place["name"], url, folder, bool(options.get("read_back")), LocalStore(prefix=folder))
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    store = S3Store(
        bucket,
        prefix=prefix or None,
        config=s3_settings(place, values or {}),  # type: ignore[arg-type]
        client_options={"timeout": timedelta(seconds=TIMEOUT_SECONDS), "connect_timeout": timedelta(seconds=10), "allow_http": True},
        retry_config={
            "max_retries": MOST_RETRIES,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    )
    return Place(place["name"], url, None, bool(options.get("read_back")), store)


def s3_settings(place: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """
    Raises:
        PlaceError: a secret that the place names is not among `values`.
    """
    options = place.get("options") or {}
    settings: dict[str, Any] = {"region": options.get("region") or "us-east-1", "checksum_algorithm": "SHA256", "conditional_put": "etag"}
    if options.get("endpoint"):
        settings["endpoint"] = options["endpoint"]
    for setting, secret in (place.get("secrets") or {}).items():
        if not secret:
            continue
        if secret not in values:
            raise PlaceError(f"the place {place['name']} needs the secret {secret}: name it under `secrets` of the job")
        settings[setting] = values[secret]
    return settings


class _Understood:
    """Turn what obstore and the system raise into errors of this module."""

    def __init__(self, place: Place, name: str) -> None:
        self._what = f"{place.name}: {name}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, PlaceError) or error is None:
            return
        if isinstance(error, FileNotFoundError | exceptions.NotFoundError):
            raise Missing(f"{self._what} is not there") from error
        if isinstance(error, OSError):
            raise _of_os(error, self._what) from error
        if isinstance(error, exceptions.BaseError):
            if "No space left" in str(error):
                raise PlaceFull(f"{self._what}: there is no room") from error
            raise PlaceUnavailable(f"{self._what}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:500] if str(error).strip() else type(error).__name__


def _of_os(error: OSError, what: str) -> PlaceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PlaceFull(f"{what}: there is no room")
    return PlaceUnavailable(f"{what}: {error}")


def _insist(place: Place, name: str, hashed: Any, digest: str) -> None:
    if f"sha256:{hashed.hexdigest()}" != digest:
        raise Damaged(f"{place.name}: {name} has the digest sha256:{hashed.hexdigest()} and should have {digest}")


def _write_in(folder: Path, pieces: Iterable[bytes], name: str) -> None:
    """Into a folder: beside, flushed, then under its name. (obstore's own local writer does not flush.)"""
    target = folder / name
    made = _make_folders(target.parent, folder)
    partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(6)}~")
    try:
        with open(partial, "xb", buffering=0) as file:
            for piece in pieces:
                _write_all(file, piece)
            os.fsync(file.fileno())
        partial.chmod(0o644)
        reach("place.before_rename")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    for changed in (target.parent, *made):
        _sync_folder(changed)


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _make_folders(folder: Path, root: Path) -> list[Path]:
    """Those whose lists of names changed."""
    changed = []
    at = folder
    while at != root and not at.is_dir():
        changed.append(at.parent)
        at = at.parent
    folder.mkdir(parents=True, exist_ok=True)
    return changed


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty(folder: Path, root: Path) -> None:
    """Upwards, as far as nothing is in them."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def remove_partial(folder: Path, older_than: timedelta) -> int:
    """Files that a crash left half written under `parts/` and `versions/`. How many."""
    horizon = (datetime.now(UTC) - older_than).timestamp()
    removed = 0
    for top in ("parts", "versions"):
        for parent, _, names in os.walk(folder / top):
            for name in names:
                path = Path(parent, name)
                with suppress(FileNotFoundError):
                    if name.startswith(".") and name.endswith("~") and path.stat().st_mtime < horizon:
                        path.unlink()
                        removed += 1
                        _remove_empty(path.parent, folder)
    return removed


def room_bytes(folder: Path) -> int:
    """How much fits into a folder's volume."""
    return shutil.disk_usage(folder).free
