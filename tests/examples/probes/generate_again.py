"""Write the drives a second time and compare: `generate_again.py FOLDER`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from drive_dataset.files import sha256_of
from drive_dataset.generate.__main__ import generate

first = Path(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    began = time.monotonic()
    generate(Path(folder))
    seconds = time.monotonic() - began
    names = {str(path.relative_to(root)) for root in (first, Path(folder)) for path in root.rglob("*") if path.is_file()}
    different = [
        name for name in sorted(names)
        if not (first / name).is_file() or not (Path(folder) / name).is_file() or sha256_of(first / name) != sha256_of(Path(folder) / name)
    ]  # fmt: skip
print(json.dumps({"different": different, "seconds": seconds}))
