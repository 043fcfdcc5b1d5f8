"""What is left of places after protection, against the true ones: `places.py WORKSPACE`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from drive_dataset import synchronise
from drive_dataset.geometry import east_north
from drive_dataset.protect import policy_of
from drive_dataset.workspace import Workspace

workspace = Workspace(Path(sys.argv[1]))
said = []
for recording in workspace.done("protected"):
    policy = policy_of(workspace.recordings[recording].jurisdiction)
    whole, cut = (synchronise.load(workspace.path(stage, recording)) for stage in ("synchronised", "protected"))
    kept = np.isfinite(cut.column("latitude"))
    latitude, longitude = whole.column("latitude"), whole.column("longitude")
    known = np.isfinite(latitude)
    nearest, off_grid = 1e9, 0
    if kept.any():
        places = east_north(latitude[known], longitude[known])
        here = places[kept[known]]
        nearest = float(min(np.linalg.norm(here - end, axis=1).min() for end in (places[0], places[-1])))
        for name in ("latitude", "longitude"):
            steps = cut.column(name)[kept] / policy.grid_degrees - 0.5
            off_grid += int((np.abs(steps - np.round(steps)) > 1e-3).sum())
    names = [name for name in cut.columns if name.startswith(("gnss", "altitude"))]
    said.append(
        {
            "kept": int(kept.sum()),
            "off_grid": off_grid,
            "nearest_to_an_end_metres": nearest,
            "trim_metres": policy.trim_metres,
            "names": names,
        }
    )
print(json.dumps(said))
