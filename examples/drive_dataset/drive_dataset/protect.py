"""Protect people: coordinates are cut to the policy of the jurisdiction, faces and number plates are blurred.

Guarantees: a protected recording holds no place finer than the policy's grid, none near the start or the end of the drive, and no
absolute pose or raw satellite measurement from which a place could be computed. `blur` is the only way from a camera to a shard, so no
picture leaves without having been looked at; what was found in it is written with it. Detectors miss: the rates on a known set are in
the README, and a policy may forbid pictures altogether.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from drive_dataset.canonical import ALTITUDE, HEADING, LATITUDE, LONGITUDE
from drive_dataset.errors import ForeignRecording
from drive_dataset.geometry import distances, east_north
from drive_dataset.synchronise import Synchronised


@dataclass(frozen=True)
class Policy:
    """What a jurisdiction allows to be kept. `boxes` are (south, west, north, east), rough on purpose: they tell countries apart."""

    jurisdiction: str
    boxes: tuple[tuple[float, float, float, float], ...]
    grid_degrees: float | None  # None: no place at all
    trim_metres: float  # of the way at either end
    pictures: bool = True


POLICIES = {
    policy.jurisdiction: policy
    for policy in (
        Policy("dk", ((54.5, 8.0, 57.8, 12.7), (54.9, 14.6, 55.4, 15.3)), grid_degrees=0.002, trim_metres=200),
        Policy("us", ((24.4, -125.0, 49.4, -66.9), (18.9, -160.3, 22.3, -154.8)), grid_degrees=0.001, trim_metres=100),
        Policy("de", ((47.2, 5.8, 55.1, 15.1),), grid_degrees=0.002, trim_metres=300),
        Policy("cn", ((18.1, 73.5, 53.6, 134.8),), grid_degrees=None, trim_metres=0),
    )
}  # fmt: skip
UNKNOWN = Policy("", (), grid_degrees=None, trim_metres=0)
"""Where nobody says what is allowed, no place is kept."""


def policy_of(jurisdiction: str) -> Policy:
    return POLICIES.get(jurisdiction, UNKNOWN)


def jurisdiction_at(latitude: float, longitude: float) -> str | None:
    for policy in POLICIES.values():
        if any(south <= latitude <= north and west <= longitude <= east for south, west, north, east in policy.boxes):
            return policy.jurisdiction
    return None


def protect(synchronised: Synchronised, policy: Policy) -> Synchronised:
    """The same instants with places cut. Doing it again changes nothing more.

    Raises:
        ForeignRecording: most of it lies outside the jurisdiction.
    """
    latitude, longitude = synchronised.columns.get(LATITUDE), synchronised.columns.get(LONGITUDE)
    if latitude is None or longitude is None:
        return synchronised
    known = np.isfinite(latitude) & np.isfinite(longitude)
    _refuse_foreign(synchronised, policy, latitude[known], longitude[known])
    columns = dict(synchronised.columns)
    columns.pop(ALTITUDE, None)  # with a map it is a place
    if policy.grid_degrees is None:
        for name in (LATITUDE, LONGITUDE, HEADING):
            columns.pop(name, None)
        return replace(synchronised, columns=columns)
    kept = known & ~near_ends(latitude, longitude, known, policy.trim_metres)
    for name in (LATITUDE, LONGITUDE):
        cells = (np.floor(columns[name] / policy.grid_degrees) + 0.5) * policy.grid_degrees
        columns[name] = np.where(kept, np.round(cells, 6), np.nan)
    return replace(synchronised, columns=columns)


def near_ends(latitude: np.ndarray, longitude: np.ndarray, known: np.ndarray, metres: float) -> np.ndarray:
    """Which instants lie within so much of the way from the start or to the end: where people live and work."""
    result = np.ones(len(latitude), bool)
    if known.any():
        places = east_north(latitude[known], longitude[known])
        far_from_start = np.linalg.norm(places - places[0], axis=1) > metres
        far_from_end = np.linalg.norm(places - places[-1], axis=1) > metres
        way = np.concatenate([[0.0], np.cumsum(distances(places))])
        inside = far_from_start & far_from_end & (way > metres) & (way < way[-1] - metres)
        result[known] = ~inside
    return result


def _refuse_foreign(synchronised: Synchronised, policy: Policy, latitude: np.ndarray, longitude: np.ndarray) -> None:
    if not policy.boxes or not len(latitude):
        return
    inside = np.zeros(len(latitude), bool)
    for south, west, north, east in policy.boxes:
        inside |= (latitude >= south) & (latitude <= north) & (longitude >= west) & (longitude <= east)
    if inside.mean() < 0.5:
        raise ForeignRecording(
            f"{1 - inside.mean():.0%} of its places lie outside '{policy.jurisdiction}', where it was brought",
            record=synchronised.recording,
        )


# Pictures ----------------------------------------------------------------------------------------------------------

FACE_CASCADES = ("haarcascade_frontalface_default.xml", "haarcascade_profileface.xml")
PLATE_CASCADES = ("haarcascade_russian_plate_number.xml",)
LEAST_FACE, LEAST_PLATE = (20, 20), (24, 8)
MARGIN = 0.15


@cache
def _cascades(names: tuple[str, ...]) -> tuple[cv2.CascadeClassifier, ...]:
    folder = Path(cv2.__file__).parent / "data"
    return tuple(cv2.CascadeClassifier(str(folder / name)) for name in names)


def find_people(picture: np.ndarray) -> list[dict[str, Any]]:
    """Boxes (x, y, width, height) of what looks like a face or a number plate. Rather too many than too few."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    found = [
        {"what": what, "box": [int(number) for number in box]}
        for what, names, least in (("face", FACE_CASCADES, LEAST_FACE), ("plate", PLATE_CASCADES, LEAST_PLATE))
        for cascade in _cascades(names)
        for box in cascade.detectMultiScale(grey, scaleFactor=1.25, minNeighbors=3, minSize=least)
    ]
    found += [{"what": "plate", "box": box} for box in _plates_by_edges(grey)]
    return sorted(found, key=lambda one: (one["what"], one["box"]))


def _plates_by_edges(grey: np.ndarray) -> list[list[int]]:
    """Bright, flat boxes full of upright strokes: plates that the cascades, trained on one country's, do not know."""
    bright = ((grey > 140) & (grey > cv2.blur(grey, (61, 31)).astype(np.int16) + 25)).astype(np.uint8)
    closed = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, np.ones((3, 7), np.uint8))
    strokes = np.abs(cv2.Sobel(grey, cv2.CV_16S, 1, 0))
    boxes = []
    for x, y, width, height, area in cv2.connectedComponentsWithStats(closed)[2][1:].tolist():
        if 20 <= width <= 240 and 5 <= height <= 70 and 2.2 <= width / height <= 8 and area > 0.6 * width * height:
            inside = strokes[y : y + height, x + 1 : x + width - 1]
            if (inside > 60).mean() > 0.3:
                boxes.append([x, y, width, height])
    return boxes


def blur(picture: np.ndarray) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """A copy in which whatever was found is a coarse mosaic under a blur: no letter and no feature is left."""
    found = find_people(picture)
    result = picture.copy()
    for one in found:
        x, y, width, height = one["box"]
        dx, dy = int(width * MARGIN), int(height * MARGIN)
        rows, columns = slice(max(0, y - dy), y + height + dy), slice(max(0, x - dx), x + width + dx)
        area = result[rows, columns]
        coarse = cv2.resize(area, (4, 2), interpolation=cv2.INTER_AREA)
        result[rows, columns] = cv2.resize(coarse, (area.shape[1], area.shape[0]), interpolation=cv2.INTER_LINEAR)
    return result, found
