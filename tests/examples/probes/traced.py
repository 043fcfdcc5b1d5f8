"""Each sample of a version against the recording that it names: `traced.py WORKSPACE`."""
# pyright: basic, reportMissingImports=false, reportOptionalMemberAccess=false

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
from drive_dataset.decode import decode
from drive_dataset.workspace import Workspace

workspace = Workspace(Path(sys.argv[1]))
decoded = {}
count, wrong = 0, []
for shard in sorted(workspace.path("published", "latest").glob("*.tar")):
    with tarfile.open(shard) as archive:
        for member in archive:
            if not member.name.endswith(".json"):
                continue
            about = json.loads(archive.extractfile(member).read())
            count += 1
            if about["recording"] not in decoded:
                decoded[about["recording"]] = decode(workspace.recordings[about["recording"]])
            recording = decoded[about["recording"]]
            start = recording.frames[0].t[0] if recording.frames else np.ceil(recording.span()[0] * 10) / 10
            speed = recording.signal("speed")
            if about["speed"] is not None:
                there = float(np.interp(start + about["second"], speed.t, speed.value))
                if abs(there - about["speed"]) > 0.05:
                    wrong.append([about["key"], about["speed"], there])
            if about["has_signals"]:
                window = np.load(io.BytesIO(archive.extractfile(f"{about['key']}.signals.npy").read()))
                if abs(window[-1, 0] - about["speed"]) > 1e-3 or window.shape != (20, 3):
                    wrong.append([about["key"], "window"])
print(json.dumps({"samples": count, "wrong": wrong[:5]}))
