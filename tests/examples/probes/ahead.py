"""Metres to what stands straight ahead, in each sweep: `ahead.py CAPTURE METADATA`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from drive_dataset.decoders.lidar import sweeps
from ouster.sdk import core

found = []
for scan in sweeps(Path(sys.argv[1]), Path(sys.argv[2])):
    points = core.XYZLut(scan.sensor_info)(scan).reshape(-1, 3)
    ahead = (np.abs(points[:, 1]) < 0.8) & (points[:, 2] > -1.4) & (points[:, 2] < -0.4) & (points[:, 0] > 1)
    found.append(float(np.median(points[ahead, 0])))
print(json.dumps(found))
