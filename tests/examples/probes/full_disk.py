"""Write shards where there is no room for them: `full_disk.py FOLDER [MOST_BYTES_OF_A_FILE]`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from drive_dataset.errors import DriveError
from drive_dataset.samples import Sample
from drive_dataset.sharding import write_shards

folder = Path(sys.argv[1])
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
about = {"recording": "r", "found": []}
samples = [Sample(f"r-{number:04d}", {**about, "key": f"r-{number:04d}"}, (("bin", bytes(64 << 10)),)) for number in range(64)]
try:
    write_shards(samples, {"r": "train"}, folder / "shards")
    code = None
except DriveError as error:
    code = error.code
print(json.dumps({"code": code, "left": sorted(path.name for path in folder.iterdir())}))
