"""`python -m drive_dataset.generate FOLDER`: two short drives, one in Denmark and one in California, in every format."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from drive_dataset.files import write_json
from drive_dataset.generate import bags, camera, can, lidar, segment
from drive_dataset.generate.sensors import sense
from drive_dataset.generate.vehicle import Motion, Plan, drive

NORTH = Plan("aarhus-1", 1, 1_717_401_600.0, 56.1500, 10.1200, 20.0)
NORTH_LATER = Plan("aarhus-2", 2, 1_717_488_000.0, 56.0400, 10.0100, 75.0, cruise=24.0, lane_change_at=9.0)
WEST = Plan("daly-city-1", 3, 1_717_862_400.0, 37.7200, -122.4700, 5.0, cruise=22.0, lane_change_at=14.0)
WEST_LATER = Plan("palo-alto-1", 4, 1_717_948_800.0, 37.4300, -122.1500, 120.0, cruise=18.0)


def generate(folder: Path) -> None:
    """`denmark/` and `california/`, and `truth/` beside them, which is no recording."""
    north, west = folder / "denmark", folder / "california"
    for plan in (NORTH, NORTH_LATER):
        motion = drive(plan)
        more: dict[str, Any] = {"can_frames": can.write(plan, sense(plan, motion), north / "can")}
        if plan is NORTH:
            more["frames"] = camera.write_video(plan, motion, north / "camera" / f"{plan.name}.mp4")
            more["lidar"] = lidar.write(plan, motion, north / "lidar")
        _tell(folder, plan, motion, **more)

    motion, home = drive(WEST), west / "segments" / WEST.name
    segment.write(WEST, motion, sense(WEST, motion), home)
    _tell(folder, WEST, motion, frames=camera.write_video(WEST, motion, home / "video.mp4", segment.CAMERA_HERTZ))
    motion = drive(WEST_LATER)
    rows = list(bags.messages(WEST_LATER, motion, sense(WEST_LATER, motion)))
    bags.write_mcap(west / "ros" / f"{WEST_LATER.name}.mcap", rows)
    bags.write_bag2(west / "ros" / "bag2", rows[: len(rows) // 2])
    bags.write_bag1(west / "ros" / "drive.bag", rows[len(rows) // 2 :])
    _tell(folder, WEST_LATER, motion, messages={topic: sum(row[1] == topic for row in rows) for topic in bags.TOPICS})


def _tell(folder: Path, plan: Plan, motion: Motion, **more: Any) -> None:
    """What is true of the drive, for whoever wants to check a decoder against it."""
    speeds = [round(value, 4) for value in motion.speed[::10].tolist()]
    about = {name: getattr(plan, name) for name in ("start", "seconds", "latitude", "longitude")}
    whole = {**about, "metres": round(motion.metres(), 3), "events": motion.events, "speed_10_hz": speeds, **more}
    write_json(folder / "truth" / f"{plan.name}.json", whole)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m drive_dataset.generate", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    began = time.monotonic()
    generate(folder)
    print(f"four drives in {folder} in {time.monotonic() - began:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
