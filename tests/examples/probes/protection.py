"""Faces and plates that were drawn, found and blurred: `protection.py found|blurred`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
from drive_dataset.generate.__main__ import NORTH
from drive_dataset.generate.camera import pictures
from drive_dataset.generate.vehicle import drive
from drive_dataset.protect import MARGIN, blur, find_people

LEAST_WIDTH = 20


def covered(box: list[int], found: list[dict]) -> bool:
    """Half of it lies in one of the boxes."""
    x, y, width, height = box
    for one in found:
        a, b, c, d = one["box"]
        across, down = min(x + width, a + c) - max(x, a), min(y + height, b + d) - max(y, b)
        if across > 0 and down > 0 and across * down >= 0.5 * width * height:
            return True
    return False


def seen():
    """Two pictures a second from where the car ahead is near."""
    return [(picture, boxes) for t, picture, boxes in pictures(NORTH, drive(NORTH), 2.0) if 30 < t < 45]


def found() -> dict:
    said = {"faces": {"drawn": 0, "found": 0}, "plates": {"drawn": 0, "found": 0}, "boxes_elsewhere": 0, "pictures": 0}
    for picture, boxes in seen():
        here = find_people(picture)
        said["pictures"] += 1
        said["boxes_elsewhere"] += sum(
            not any(covered(one["box"], [true]) or covered(true["box"], [one]) for true in boxes) for one in here
        )
        for true in boxes:
            if true["box"][2] >= LEAST_WIDTH:
                said[f"{true['what']}s"]["drawn"] += 1
                said[f"{true['what']}s"]["found"] += covered(true["box"], here)
    return said


def blurred() -> dict:
    picture, boxes = next(
        (picture, boxes) for picture, boxes in seen() if len(boxes) == 2 and covered(boxes[0]["box"], find_people(picture))
    )
    safe, here = blur(picture)
    x, y, width, height = boxes[0]["box"]

    def strokes(image: np.ndarray) -> float:
        grey = cv2.cvtColor(image[y : y + height, x : x + width], cv2.COLOR_BGR2GRAY)
        return float(np.abs(cv2.Sobel(grey, cv2.CV_16S, 1, 0)).mean())

    outside = np.ones(picture.shape[:2], bool)
    for one in here:
        a, b, c, d = one["box"]
        dx, dy = int(c * MARGIN), int(d * MARGIN)
        outside[max(0, b - dy) : b + d + dy, max(0, a - dx) : a + c + dx] = False
    changed = int((picture != safe).any(axis=2)[outside].sum())
    return {
        "strokes_before": strokes(picture),
        "strokes_after": strokes(safe),
        "found_again": len(find_people(safe)),
        "changed_elsewhere": changed,
    }


print(json.dumps({"found": found, "blurred": blurred}[sys.argv[1]]()))
