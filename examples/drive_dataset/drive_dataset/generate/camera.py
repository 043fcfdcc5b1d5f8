"""What the camera saw, drawn: road, lanes, the car ahead with its number plate, a face by the roadside while the car stands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from drive_dataset.generate.vehicle import HERTZ, LANE_METRES, Motion, Plan

WIDTH, HEIGHT, FOCAL, HORIZON, CAMERA_METRES = 640, 360, 520.0, 150, 1.3
PLATE_METRES = (0.52, 0.13)


def pictures(plan: Plan, motion: Motion, hertz: float) -> Iterator[tuple[float, np.ndarray, list[dict[str, Any]]]]:
    """Seconds, BGR pixels, and the boxes of the plates and faces in them."""
    way = np.cumsum(motion.speed) / HERTZ
    for i in range(0, len(motion.t), round(HERTZ / hertz)):
        yield (
            float(motion.t[i]),
            *draw(plan, float(way[i]), float(motion.lateral[i]), float(motion.lead_distance[i]), float(motion.speed[i])),
        )


def draw(plan: Plan, way: float, lateral: float, lead: float, speed: float) -> tuple[np.ndarray, list[dict[str, Any]]]:
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:HORIZON] = (205, 180, 150)
    picture[HORIZON:] = (70, 110, 80)

    def at(x: float, z: float) -> tuple[int, int]:
        return round(WIDTH / 2 + FOCAL * x / z), round(HORIZON + FOCAL * CAMERA_METRES / z)

    left, right = -1.5 * LANE_METRES + lateral, LANE_METRES / 2 + lateral  # two lanes; the car starts in the right one
    cv2.fillPoly(picture, [np.array([at(left, 3), at(left, 200), at(right, 200), at(right, 3)])], (90, 90, 92))
    for x in (left + 0.1, right - 0.1):
        cv2.line(picture, at(x, 3), at(x, 200), (230, 230, 230), 2)
    for z in np.arange(3 + (-way) % 9, 120, 9):
        cv2.line(picture, at(-LANE_METRES / 2 + lateral, z), at(-LANE_METRES / 2 + lateral, z + 3), (230, 230, 230), max(1, int(20 / z)))
    boxes = []
    if lead < 60:
        boxes.append({"what": "plate", "box": _car(picture, plan, lead)})
    if speed < 0.2:
        boxes.append({"what": "face", "box": _face(picture, 520, 120, 34)})
    return picture, boxes


def _car(picture: np.ndarray, plan: Plan, distance: float) -> list[int]:
    """A dark car from behind, and on it the plate, whose box is returned."""
    scale = FOCAL / distance
    ground = HORIZON + round(scale * CAMERA_METRES)
    half, height = round(scale * 0.9), round(scale * 1.45)
    x = WIDTH // 2
    cv2.rectangle(picture, (x - half, ground - height), (x + half, ground - round(scale * 0.2)), (60, 40, 35), -1)
    cv2.rectangle(
        picture,
        (x - round(half * 0.8), ground - round(height * 0.93)),
        (x + round(half * 0.8), ground - round(height * 0.6)),
        (120, 110, 95),
        -1,
    )
    width, tall = max(4, round(scale * PLATE_METRES[0])), max(2, round(scale * PLATE_METRES[1]))
    left, top = x - width // 2, ground - round(scale * 0.75)
    picture[top : top + tall, left : left + width] = _plate(f"{plan.seed * 7919 % 90000 + 10000}", width, tall)
    return [left, top, width, tall]


def _plate(number: str, width: int, height: int) -> np.ndarray:
    large = np.full((52, 208, 3), 245, np.uint8)
    cv2.rectangle(large, (2, 2), (205, 49), (20, 20, 20), 2)
    cv2.putText(large, f"AB{number}", (12, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.25, (15, 15, 15), 4, cv2.LINE_AA)
    return cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)


def _face(picture: np.ndarray, x: int, y: int, radius: int) -> list[int]:
    """A drawn face: shaded as light falls on one, which is all that a cascade of contrasts looks for."""
    cv2.rectangle(picture, (x - radius, y + radius), (x + radius, y + 5 * radius), (60, 60, 140), -1)
    cv2.ellipse(picture, (x, y), (int(radius * 0.82), int(radius * 1.1)), 0, 0, 360, (150, 180, 225), -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y - int(radius * 0.72)), (int(radius * 0.8), int(radius * 0.5)), 0, 180, 360, (30, 40, 60), -1, cv2.LINE_AA)
    for side in (-1, 1):
        eye = (x + side * int(radius * 0.34), y - int(radius * 0.16))
        cv2.ellipse(picture, eye, (int(radius * 0.26), int(radius * 0.17)), 0, 0, 360, (85, 105, 145), -1, cv2.LINE_AA)
        cv2.ellipse(picture, eye, (int(radius * 0.15), int(radius * 0.08)), 0, 0, 360, (20, 20, 30), -1, cv2.LINE_AA)
        brow = (eye[0], eye[1] - int(radius * 0.2))
        cv2.ellipse(picture, brow, (int(radius * 0.24), int(radius * 0.06)), 0, 0, 360, (40, 50, 70), -1, cv2.LINE_AA)
        cv2.ellipse(
            picture, (x + side * int(radius * 0.42), y + int(radius * 0.3)), (int(radius * 0.2),) * 2, 0, 0, 360, (165, 195, 238), -1
        )
    cv2.ellipse(picture, (x, y + int(radius * 0.12)), (int(radius * 0.08), int(radius * 0.3)), 0, 0, 360, (175, 205, 245), -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y + int(radius * 0.38)), (int(radius * 0.16), int(radius * 0.05)), 0, 0, 360, (90, 110, 150), -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y + int(radius * 0.64)), (int(radius * 0.3), int(radius * 0.08)), 0, 0, 360, (70, 70, 150), -1, cv2.LINE_AA)
    size = int(radius * 1.7)
    return [x - size // 2, y - size // 2, size, size]


def write_video(plan: Plan, motion: Motion, path: Path, hertz: float = 10.0) -> list[dict[str, Any]]:
    """H.264 in MP4, a key frame each second. Returns what was in each frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = []
    moment = datetime.fromtimestamp(plan.start, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        container.metadata["creation_time"] = moment
        stream = container.add_stream(
            "libx264", rate=round(hertz), options={"preset": "ultrafast", "crf": "20", "threads": "1", "g": str(round(hertz))}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, (t, picture, boxes) in enumerate(pictures(plan, motion, hertz)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
            truth.append({"frame": number, "t": t, "boxes": boxes})
        container.mux(stream.encode())
    return truth
