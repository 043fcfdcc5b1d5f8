"""What a file is, told from its content, never from its name.

Guarantees: `kind_of_file` reads a few kilobytes, whatever the size; it raises a named error for what no stage could use (empty, mostly
unwritten, packed to explode) and answers None for what is simply not a recording.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from pathlib import Path

from drive_dataset.errors import Archive, Bomb, EmptyFile, NotARecording, SparseFile

MDF, COMMA2K19, ROS1, ROS2, MCAP, VIDEO, LIDAR, POSES = "mdf", "comma2k19", "ros1", "ros2", "mcap", "video", "lidar", "poses"
# Beside recordings, or parts of them:
DBC, SENSOR, IMAGE, ARRAY, SQLITE, TEXT = "dbc", "sensor metadata", "image", "array", "sqlite", "text"
RECORDING_KINDS = (MDF, COMMA2K19, ROS1, ROS2, MCAP, VIDEO, LIDAR, POSES)

HEAD_BYTES = 4096
SPARSE_FROM_BYTES = 64 << 20
MOST_UNPACKED_BYTES, MOST_RATIO = 4 << 30, 100

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"MDF     ", MDF),
    (b"UnFinMF ", MDF),  # the recorder lost power before it could finish the file
    (b"#ROSBAG V2.0", ROS1),
    (b"\x89MCAP0\r\n", MCAP),
    (b"SQLite format 3\0", SQLITE),
    (b"\x93NUMPY", ARRAY),
    (b"\xd4\xc3\xb2\xa1", LIDAR),
    (b"\xa1\xb2\xc3\xd4", LIDAR),
    (b"\x4d\x3c\xb2\xa1", LIDAR),
    (b"\x0a\x0d\x0d\x0a", LIDAR),
    (b"\x1a\x45\xdf\xa3", VIDEO),  # Matroska
    (b"\0\0\0\1", VIDEO),  # H.264 or H.265 as it comes from the encoder
    (b"\0\0\1", VIDEO),
    (b"\x89PNG\r\n", IMAGE),
    (b"\xff\xd8\xff", IMAGE),
)


def kind_of_file(path: Path) -> str | None:
    size, blocks = path.stat().st_size, path.stat().st_blocks
    if size == 0:
        raise EmptyFile(f"{path.name} has no content")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    kind = _kind_of_head(head)
    if size >= SPARSE_FROM_BYTES and blocks * 512 < size // 2 and (kind is not None or not any(head)):
        raise SparseFile(f"{path.name} says {size:,} bytes, {blocks * 512:,} were ever written")
    if head.startswith((b"PK\3\4", b"PK\5\6", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        _refuse_archive(path)
    return kind


def _kind_of_head(head: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp" or (head.startswith(b"RIFF") and head[8:12] == b"AVI "):
        return VIDEO
    try:
        text = head.decode("utf-8", errors="strict") if len(head) < HEAD_BYTES else head[: head.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError:
        text = head.decode("cp1252", errors="ignore") if re.search(rb"^BO_ \d+ ", head, re.M) or head.startswith(b"VERSION") else ""
    return _kind_of_text(text)


def _kind_of_text(text: str) -> str | None:
    if re.search(r"^BO_ \d+ ", text, re.MULTILINE) or (text.startswith("VERSION") and "NS_" in text):
        return DBC
    if text.lstrip().startswith("{") and ("beam_altitude_angles" in text or '"sensor_info"' in text or "beam_intrinsics" in text):
        return SENSOR
    first = text.split("\n", 1)[0].split()
    if len(first) == 12 and all(re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", word) for word in first):
        return POSES
    return TEXT if text.strip() and "\0" not in text else None


def _refuse_archive(path: Path) -> None:
    """Look at the table of contents only: nothing is unpacked."""
    if not zipfile.is_zipfile(path):
        raise Archive(f"{path.name} is packed; unpack it first")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise NotARecording(f"{path.name} looks like an archive and is none: {error}") from error
    unpacked, packed = sum(member.file_size for member in members), max(1, path.stat().st_size)
    if unpacked > MOST_UNPACKED_BYTES or unpacked // packed > MOST_RATIO:
        raise Bomb(f"{path.name} would unpack {packed:,} bytes to {unpacked:,}")
    raise Archive(f"{path.name} is an archive of {len(members)} files; unpack it first")


def is_ouster_metadata(path: Path) -> bool:
    try:
        document = json.loads(path.read_text())
    except (ValueError, OSError):
        return False
    return isinstance(document, dict) and ("beam_altitude_angles" in document or "beam_intrinsics" in document)


def refuse_bomb_inside(path: Path, kind: str) -> None:
    """Containers with packed blocks say how large those are: believe it before a library allocates it.

    Raises:
        Bomb: the blocks would unpack to far more than the file is.
    """
    sizes = _mdf_blocks(path) if kind == MDF else _mcap_chunks(path) if kind == MCAP else []
    unpacked, size = sum(sizes), max(1, path.stat().st_size)
    if unpacked > MOST_UNPACKED_BYTES or (unpacked > SPARSE_FROM_BYTES and unpacked // size > MOST_RATIO):
        raise Bomb(f"{path.name} would unpack {size:,} bytes to {unpacked:,}")


def _mdf_blocks(path: Path) -> list[int]:
    """Unpacked sizes of the `##DZ` blocks (ASAM MDF 4.1, 6.24)."""
    data = path.read_bytes()
    blocks = (match.start() for match in re.finditer(b"##DZ\0\0\0\0", data))
    return [struct.unpack_from("<Q", data, at + 32)[0] for at in blocks if at + 48 <= len(data)]


def _mcap_chunks(path: Path) -> list[int]:
    """Unpacked sizes of the chunks (MCAP specification, chunk records: opcode 6)."""
    sizes = []
    end = path.stat().st_size
    with path.open("rb") as file:
        at = file.seek(8)
        while at + 9 <= end:
            opcode, length = struct.unpack("<BQ", file.read(9))
            if opcode == 6 and length >= 24:
                sizes.append(struct.unpack("<QQQ", file.read(24))[2])
            at = file.seek(at + 9 + length)
    return sizes
