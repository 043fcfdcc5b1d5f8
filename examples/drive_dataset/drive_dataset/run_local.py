"""All stages one after another, in one process: `python -m drive_dataset.run_local WORKSPACE DATA`.

Guarantees: the same functions, files and bytes as the pipeline, with no platform: what a platform costs is the difference to this.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from drive_dataset import stages
from drive_dataset.errors import DriveError
from drive_dataset.workspace import Workspace, for_each


def run(workspace: Workspace, data: Path, jurisdiction: str = "", only: Sequence[str] = ()) -> dict[str, float]:
    """Seconds by stage."""
    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], Any]) -> None:
        began = time.perf_counter()
        said = work()
        seconds[stage] = round(time.perf_counter() - began, 3)
        print(f"{stage:<14}{seconds[stage]:>8.2f} s  {said}", file=sys.stderr, flush=True)

    timed("ingest", lambda: stages.register(workspace, data, jurisdiction, only))
    for stage, (before, work) in stages.BY_RECORDING.items():
        timed(stage, lambda stage=stage, before=before, work=work: _each(workspace, stage, before, work))
    for stage, work in stages.ONCE.items():
        timed(stage, lambda work=work: work(workspace))
    return seconds


def _each(workspace: Workspace, stage: str, before: str, work: Callable[[Workspace, str], Any]) -> str:
    ids = workspace.done(before)
    failures = for_each(workspace, stage, ids, lambda recording: work(workspace, recording))
    said = [f"{len(ids) - len(failures)} of {len(ids)} recordings"]
    said += [f"{failure.error.record}: {failure.error.code}: {failure.error.message}" for failure in failures]
    return "; ".join(said)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m drive_dataset.run_local", description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--jurisdiction", default="")
    parser.add_argument("--only", action="append", default=[], metavar="FOLDER", help="of the folders in DATA; may be repeated")
    parser.add_argument("--json", type=Path, help="write the seconds by stage here")
    chosen = parser.parse_args()
    try:
        seconds = run(Workspace(chosen.workspace), chosen.data.resolve(), chosen.jurisdiction, chosen.only)
    except DriveError as error:
        print(json.dumps(error.document()), file=sys.stderr)
        return error.exit_code
    if chosen.json:
        chosen.json.write_text(json.dumps(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
