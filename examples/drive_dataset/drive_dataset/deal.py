"""Which folders of recordings belong to which jurisdiction: `python -m drive_dataset.deal DATA`.

Guarantees: a folder belongs to where most of its recordings were made; one that says nowhere where it was made is listed under "". Whoever
owns the recordings runs this, before any site sees them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from drive_dataset.canonical import LATITUDE, LONGITUDE
from drive_dataset.decode import decode
from drive_dataset.errors import DriveError
from drive_dataset.ingest import ingest
from drive_dataset.kinds import COMMA2K19, MCAP, MDF, ROS1, ROS2
from drive_dataset.protect import jurisdiction_at

PLACED = (MDF, COMMA2K19, ROS1, ROS2, MCAP)


def deal(data: Path) -> dict[str, list[str]]:
    dealt: dict[str, list[str]] = {}
    for folder in sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")):
        recordings = ingest(data, only=[folder.name]).recordings
        if not recordings:
            continue
        places: Counter[str] = Counter()
        for recording in recordings:
            if recording.kind in PLACED:
                try:
                    latitude, longitude = (decode(recording).signal(name) for name in (LATITUDE, LONGITUDE))
                except DriveError:
                    continue  # the pipeline says what is wrong with it
                if latitude is not None and longitude is not None:
                    places[jurisdiction_at(float(np.median(latitude.value)), float(np.median(longitude.value))) or ""] += 1
        dealt.setdefault(places.most_common(1)[0][0] if places else "", []).append(folder.name)
    return dealt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m drive_dataset.deal", description=__doc__)
    parser.add_argument("data", type=Path)
    print(json.dumps(deal(parser.parse_args().data.resolve())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
