"""Decode a recording of any kind into columns, repaired.

Guarantees: the same columns for the same content; what was wrong and what was done about it is listed in `findings`.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from drive_dataset.errors import DriveError
from drive_dataset.kinds import COMMA2K19, LIDAR, MCAP, MDF, POSES, ROS1, ROS2, VIDEO
from drive_dataset.records import Decoded, Recording, save
from drive_dataset.repair import repair

_DECODERS = {MDF: "mdf", COMMA2K19: "comma2k19", ROS1: "ros", ROS2: "ros", MCAP: "ros", VIDEO: "video", LIDAR: "lidar", POSES: "poses"}


def decode(recording: Recording) -> Decoded:
    """Raises a `BadRecord` that names the recording."""
    decoder = importlib.import_module(f"drive_dataset.decoders.{_DECODERS[recording.kind]}")  # only the libraries that this kind needs
    try:
        return repair(decoder.decode(recording))
    except DriveError as error:
        error.record = error.record or recording.id
        raise


def decode_to(recording: Recording, folder: Path) -> Decoded:
    decoded = decode(recording)
    save(decoded, folder / recording.id)
    return decoded
