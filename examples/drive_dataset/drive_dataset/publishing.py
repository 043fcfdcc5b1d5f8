"""Make a version of the data set that readers can rely on.

Guarantees: a version is named by the digest of its manifest, so the same content is the same version; it appears whole, in one rename,
after every file was read back and found to be what the manifest says; `latest` moves in one step. A published version never changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from drive_dataset.errors import Damaged
from drive_dataset.files import canonical_json, new_folder, no_space_named, read_json, sha256_of, write_json

MANIFEST, VERSION_LENGTH = "manifest.json", 16


def publish(shards: Path, statistics: dict[str, Any], gates: list[dict[str, Any]], labels: dict[str, Any], published: Path) -> str:
    """Returns the version."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(shards.iterdir()) if path.is_file()}
    manifest = canonical_json({"files": files, "labels": labels, "statistics": statistics, "gates": gates})
    version = hashlib.sha256(manifest).hexdigest()[:VERSION_LENGTH]
    if not (published / version).exists():
        with new_folder(published / version) as part:
            for name in files:
                _take(shards / name, part / name)
            (part / MANIFEST).write_bytes(manifest)
            verify(part)
    _point(published / "latest", version)
    return version


def _take(source: Path, target: Path) -> None:
    """A second name for the same bytes where the file system can, a copy where it cannot."""
    with no_space_named(target):
        try:
            os.link(source.resolve(), target)
        except OSError:
            shutil.copyfile(source, target)
        target.chmod(0o444)


def _point(link: Path, version: str) -> None:
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(version)
    new.replace(link)


def verify(folder: Path) -> None:
    """Every file is what the manifest says, and there is no other."""
    manifest = read_json(folder / MANIFEST)
    there = {path.name for path in folder.iterdir()} - {MANIFEST}
    if there != set(manifest["files"]):
        raise Damaged(f"{sorted(there ^ set(manifest['files']))} are in the folder or in the manifest, not in both")
    for name, about in manifest["files"].items():
        if sha256_of(folder / name) != about["sha256"]:
            raise Damaged(f"{name} is not what the manifest says")


def release(published: Path, version: str, path: Path) -> None:
    """What may leave the jurisdiction: the statistics, and which version they are of."""
    manifest = read_json(published / version / MANIFEST)
    write_json(path, {"version": version, "labels": manifest["labels"], "statistics": manifest["statistics"], "gates": manifest["gates"]})
