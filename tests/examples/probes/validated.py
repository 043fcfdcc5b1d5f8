"""What validation says of every recording in a folder: `validated.py FOLDER`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path

from drive_dataset.errors import DriveError
from drive_dataset.ingest import ingest
from drive_dataset.validate import validate

said = {}
for recording in ingest(Path(sys.argv[1])).recordings:
    try:
        said[recording.name] = [finding.code for finding in validate(recording)]
    except DriveError as error:
        said[recording.name] = [error.code]
print(json.dumps(said))
