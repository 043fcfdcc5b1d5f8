# pyright: reportMissingImports=false
"""Write one and the same decoded recording often, with memory in another state each time: how many different files that makes."""

import json
import os
import sys
from pathlib import Path

import numpy as np
from drive_dataset.records import Decoded, Signal, save

folder = Path(sys.argv[1])
t = np.arange(11_000) * 0.01  # of all signals more rows than a row group has
units = ["m/s", "m", "rad/s", "", "deg", "km", "sec", "m"] * 4
made = set()
for number in range(8):
    kept = [os.urandom(200 + 37 * k) for k in range(3000)]
    signals = [Signal(f"signal {k:02}", unit, t[: 9000 + 53 * k], np.sin(t[: 9000 + 53 * k])) for k, unit in enumerate(units)]
    del kept
    save(Decoded("one", "mdf", "unix", signals=signals), folder / str(number))
    made.add((folder / str(number) / "signals.parquet").read_bytes())
print(json.dumps(len(made)))
