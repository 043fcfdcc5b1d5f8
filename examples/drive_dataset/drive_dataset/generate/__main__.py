"""`python -m drive_dataset.generate FOLDER`: two short drives, one in Denmark and one in California, in every format."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
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
PLANS = (NORTH, NORTH_LATER, WEST, WEST_LATER)

DAY_SECONDS = 86_400.0
MOST_DAYS = 365


def generate(folder: Path, days: int = 1) -> None:
    """`denmark/` and `california/`, and `truth/` beside them, which is no recording. Each day has the four drives, driven otherwise."""
    for day in range(days):
        below, suffix = (f"day-{day + 1}", f"-day-{day + 1}") if day else ("", "")
        _day(folder, below, [_on_day(plan, day, suffix) for plan in PLANS])


def _on_day(plan: Plan, day: int, suffix: str) -> Plan:
    start, heading = plan.start + DAY_SECONDS * day, plan.heading_degrees + day
    return replace(plan, name=plan.name + suffix, seed=plan.seed + 10 * day, start=start, heading_degrees=heading)


def _day(folder: Path, below: str, plans: Sequence[Plan]) -> None:
    north, west = folder / "denmark" / below, folder / "california" / below
    first, second, third, fourth = plans
    for plan in (first, second):
        motion = drive(plan)
        more: dict[str, Any] = {"can_frames": can.write(plan, sense(plan, motion), north / "can")}
        if plan is first:
            more["frames"] = camera.write_video(plan, motion, north / "camera" / f"{plan.name}.mp4")
            more["lidar"] = lidar.write(plan, motion, north / "lidar")
        _tell(folder, plan, motion, **more)

    motion, home = drive(third), west / "segments" / third.name
    segment.write(third, motion, sense(third, motion), home)
    _tell(folder, third, motion, frames=camera.write_video(third, motion, home / "video.mp4", segment.CAMERA_HERTZ))
    motion = drive(fourth)
    rows = list(bags.messages(fourth, motion, sense(fourth, motion)))
    bags.write_mcap(west / "ros" / f"{fourth.name}.mcap", rows)
    bags.write_bag2(west / "ros" / "bag2", rows[: len(rows) // 2])
    bags.write_bag1(west / "ros" / "drive.bag", rows[len(rows) // 2 :])
    _tell(folder, fourth, motion, messages={topic: sum(row[1] == topic for row in rows) for topic in bags.TOPICS})


def _tell(folder: Path, plan: Plan, motion: Motion, **more: Any) -> None:
    """What is true of the drive, for whoever wants to check a decoder against it."""
    speeds = [round(value, 4) for value in motion.speed[::10].tolist()]
    about = {name: getattr(plan, name) for name in ("start", "seconds", "latitude", "longitude")}
    whole = {**about, "metres": round(motion.metres(), 3), "events": motion.events, "speed_10_hz": speeds, **more}
    write_json(folder / "truth" / f"{plan.name}.json", whole)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m drive_dataset.generate", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=1, metavar="N", help="how many days of four drives each, 1 to 365 (default 1)")
    chosen = parser.parse_args()
    folder, days = chosen.folder, chosen.days
    if not 1 <= days <= MOST_DAYS:
        parser.error(f"--days {days}: from 1 to {MOST_DAYS}")
    began = time.monotonic()
    generate(folder, days)
    print(f"{4 * days} drives in {folder} in {time.monotonic() - began:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
