"""Find recordings in a folder, hash them, and write the register.

Guarantees: a recording is found by what is in its files, whatever they are called and however deep they lie; its id is the digest of its
content, so a copy is found as a copy; two different recordings that claim to be the same drive are both refused, since nobody can tell
which one is true. What cannot be used is listed with its reason and stops nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drive_dataset import kinds
from drive_dataset.errors import BadRecord, DriveError, IdentityConflict, NotARecording
from drive_dataset.files import sha256_of, write_json
from drive_dataset.kinds import ARRAY, COMMA2K19, DBC, IMAGE, LIDAR, MCAP, MDF, POSES, ROS1, ROS2, SENSOR, SQLITE, TEXT, VIDEO
from drive_dataset.records import Recording

ID_LENGTH = 16
COMMA_ROOTS = ("processed_log", "global_pose")


@dataclass
class Register:
    recordings: list[Recording] = field(default_factory=list)
    duplicates: list[dict[str, str]] = field(default_factory=list)  # name, and the id that it is a copy of
    refused: list[dict[str, str | None]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # licences, pictures, descriptions: known and not recordings

    def document(self) -> dict[str, Any]:
        return {
            "recordings": [recording.document() for recording in self.recordings],
            "duplicates": self.duplicates,
            "refused": self.refused,
            "others": self.others,
        }


@dataclass
class _Found:
    kind: str
    paths: list[Path]


def ingest(folder: Path, jurisdiction: str = "", only: Sequence[str] = ()) -> Register:
    """Everything in `folder`, or in those of its folders that `only` names.

    `jurisdiction` is where the recordings lie and were made, as far as the person says.
    """
    register = Register()
    found: list[_Found] = []
    descriptions: dict[str, list[Path]] = {DBC: [], SENSOR: []}
    for part in [folder / name for name in only] or [folder]:
        if not part.is_dir():
            raise NotARecording(f"{part} is no folder")
        _discover(folder, part, register, found, descriptions)
    found.sort(key=lambda item: item.paths[0])
    by_id: dict[str, Recording] = {}
    for item in found:
        try:
            recording = _register(folder, item, descriptions, jurisdiction)
        except DriveError as error:
            _refuse(register, folder, item.paths[0], error)
            continue
        if recording.id in by_id:
            register.duplicates.append({"name": recording.name, "copy_of": recording.id, "original": by_id[recording.id].name})
        else:
            by_id[recording.id] = recording
    register.recordings = _without_conflicts(list(by_id.values()), register)
    return register


def _refuse(register: Register, folder: Path, path: Path, error: DriveError) -> None:
    register.refused.append({**error.document(), "record": path.relative_to(folder).as_posix()})


def _discover(folder: Path, part: Path, register: Register, found: list[_Found], descriptions: dict[str, list[Path]]) -> None:
    """One walk in order of name: recordings, and descriptions by kind."""
    arrays: dict[Path, list[Path]] = {}
    taken: set[Path] = set()
    for path in _visible_files(part):
        if path in taken:
            continue
        try:
            if path.name == "metadata.yaml":
                bag = _bag(path.parent)
                if bag:
                    found.append(_Found(ROS2, bag))
                    found[:] = [item for item in found[:-1] if item.paths[0] not in bag] + found[-1:]
                    taken.update(bag)
                    continue
            kind = kinds.kind_of_file(path)
        except BadRecord as error:
            _refuse(register, folder, path, error)
            continue
        segment = _segment_root(path, folder) if kind in (ARRAY, VIDEO) else None
        if segment is not None:
            arrays.setdefault(segment, []).append(path)
        elif kind in descriptions:
            descriptions[kind].append(path)
        elif kind in (MDF, ROS1, MCAP, VIDEO, LIDAR, POSES):
            found.append(_Found(kind, [path]))
        elif kind == SQLITE and (path.parent / "metadata.yaml").exists():
            continue  # comes with its metadata.yaml, which sorts after it or before it
        elif kind in (TEXT, IMAGE, ARRAY):
            register.others.append(path.relative_to(folder).as_posix())
        else:
            _refuse(register, folder, path, NotARecording(f"{path.name} is no recording of a kind that is known here"))
    found += [_Found(COMMA2K19, sorted(paths)) for paths in arrays.values()]


def _visible_files(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _bag(folder: Path) -> list[Path]:
    from drive_dataset.decoders.ros import is_bag_folder

    return sorted(path for path in folder.iterdir() if path.is_file()) if is_bag_folder(folder) else []


def _segment_root(path: Path, folder: Path) -> Path | None:
    """The folder of a comma2k19 segment that a file belongs to: the one that holds `processed_log` or `global_pose`."""
    for parent in path.parents:
        if parent.name in COMMA_ROOTS:
            return parent.parent
        if parent == folder.parent:
            break
    return path.parent if any((path.parent / name).is_dir() for name in COMMA_ROOTS) else None


def _register(folder: Path, item: _Found, descriptions: dict[str, list[Path]], jurisdiction: str) -> Recording:
    first = item.paths[0]
    root = _segment_root(first, folder) if item.kind == COMMA2K19 else first.parent if item.kind == ROS2 else first
    name = (root or first).relative_to(folder).as_posix()
    if item.kind in (MDF, MCAP):
        kinds.refuse_bomb_inside(first, item.kind)
    files = tuple(
        {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in item.paths
    )
    # A digest of digests: what the files hold and, where there are several, what each is to the recording, but not where it lies.
    inner = [
        (path.relative_to(root or first).as_posix() if len(item.paths) > 1 else "", file["sha256"])
        for path, file in zip(item.paths, files, strict=True)
    ]
    identifier = hashlib.sha256(repr(sorted(inner)).encode()).hexdigest()[:ID_LENGTH]
    companions = _companions(item.kind, first, folder, descriptions)
    recording = Recording(
        identifier,
        item.kind,
        name,
        str(folder),
        files,
        tuple(p.relative_to(folder).as_posix() for p in companions),
        jurisdiction=jurisdiction,
    )
    return replace(recording, identity=_identity(recording, companions))


def _companions(kind: str, path: Path, folder: Path, descriptions: dict[str, list[Path]]) -> list[Path]:
    """The descriptions in the recording's own folder; where there are none, those of the folders above it."""
    wanted = descriptions[DBC] if kind == MDF else descriptions[SENSOR] if kind == LIDAR else []
    for parent in path.parents:
        beside = [candidate for candidate in wanted if candidate.parent == parent]
        if beside or parent == folder:
            return beside
    return []


def _identity(recording: Recording, companions: list[Path]) -> str | None:
    """What the recording says about itself. A damaged one says nothing here; `validate` says what is wrong with it."""
    from drive_dataset.decoders import comma2k19, lidar, mdf

    paths = recording.paths()
    try:
        if recording.kind == MDF:
            return mdf.identity(paths[0])
        if recording.kind == COMMA2K19:
            return comma2k19.identity(paths)
        if recording.kind == LIDAR:
            return lidar.identity(paths[0], companions)
    except (DriveError, ValueError, IndexError):
        return None
    return None


def _without_conflicts(recordings: list[Recording], register: Register) -> list[Recording]:
    by_identity: dict[str, list[Recording]] = {}
    for recording in recordings:
        by_identity.setdefault(recording.identity or recording.id, []).append(recording)
    kept = []
    for recording in recordings:
        same = by_identity[recording.identity or recording.id]
        if len(same) == 1:
            kept.append(recording)
            continue
        others = ", ".join(other.name for other in same if other is not recording)
        error = IdentityConflict(f"{recording.name} and {others} both say that they are '{recording.identity}', and differ")
        register.refused.append({**error.document(), "record": recording.name})
    return kept


def write_register(register: Register, path: Path) -> None:
    write_json(path, register.document())
