"""Where the stages put what they make, and how a stage goes over many recordings.

Guarantees: one folder for each stage, one entry in it for each recording; a stage takes the recordings that the stage before it finished,
so a recording that failed is in no later stage; each failure is one file under `failed/` that says what and why, and goes away when the
recording succeeds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from drive_dataset.errors import BAD_RECORD_EXIT_CODE, DriveError, TooLarge, Unforeseen
from drive_dataset.files import read_json, write_json
from drive_dataset.records import Recording

REGISTER, VALIDATED, DECODED, SYNCHRONISED, PROTECTED, SELECTED = (
    "register",
    "validated",
    "decoded",
    "synchronised",
    "protected",
    "selected",
)
SPLIT, SHARDS, STATISTICS, PUBLISHED, TRAINED = "split.json", "shards", "statistics.json", "published", "trained"


@dataclass(frozen=True)
class Workspace:
    root: Path

    @cached_property
    def recordings(self) -> dict[str, Recording]:
        return {document["id"]: Recording.of(document) for document in read_json(self.root / "register.json")["recordings"]}

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    def done(self, stage: str) -> list[str]:
        """Recordings that a stage finished, in order of id."""
        if stage == REGISTER:
            return sorted(self.recordings)
        folder = self.path(stage)
        names = (
            sorted(path.name.removesuffix(".json") for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
        )
        return [name for name in names if name in self.recordings]


@dataclass(frozen=True)
class Failure:
    stage: str
    error: DriveError


def for_each(workspace: Workspace, stage: str, ids: Iterable[str], work: Callable[[str], Any]) -> list[Failure]:
    """Do `work` for every recording; a failure of one is written down and stops no other."""
    failures = []
    for recording in ids:
        note = workspace.path("failed", stage, f"{recording}.json")
        try:
            guarded(recording, work)
        except DriveError as error:
            name = workspace.recordings[recording].name if recording in workspace.recordings else None
            write_json(note, {**error.document(), "name": name, "stage": stage})
            failures.append(Failure(stage, error))
        else:
            note.unlink(missing_ok=True)
    return failures


def guarded(recording: str, work: Callable[[str], Any]) -> Any:
    """Whatever goes wrong with a recording is a `DriveError` that names it."""
    try:
        return work(recording)
    except DriveError as error:
        error.record = error.record or recording
        raise
    except MemoryError as error:
        raise TooLarge("it does not fit into memory", record=recording) from error
    except Exception as error:
        traceback.print_exc()
        raise Unforeseen(f"{type(error).__name__}: {error}", record=recording) from error


def command(stage: str, before: str, work: Callable[[Workspace, str], Any], argv: list[str] | None = None) -> int:
    """The command line of a stage that works by recording: `WORKSPACE [RECORDING…]`."""
    parser = argparse.ArgumentParser(prog=f"python -m drive_dataset.{stage}")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("recordings", nargs="*", help="ids from the register; all that the stage before finished, when left out")
    chosen = parser.parse_args(argv)
    workspace = Workspace(chosen.workspace)
    ids = chosen.recordings or workspace.done(before)
    began = time.monotonic()
    failures = for_each(workspace, stage, ids, lambda recording: work(workspace, recording))
    for failure in failures:
        print(json.dumps(failure.error.document()), file=sys.stderr)
    print(f"{stage}: {len(ids) - len(failures)} of {len(ids)} recordings in {time.monotonic() - began:.2f} s", file=sys.stderr)
    if not failures:
        return 0
    return failures[0].error.exit_code if len(ids) == 1 else BAD_RECORD_EXIT_CODE


def once(stage: str, work: Callable[[Workspace], Any], argv: list[str] | None = None) -> int:
    """The command line of a stage over all recordings: `WORKSPACE`."""
    parser = argparse.ArgumentParser(prog=f"python -m drive_dataset.{stage}")
    parser.add_argument("workspace", type=Path)
    began = time.monotonic()
    try:
        said = work(Workspace(parser.parse_args(argv).workspace))
    except DriveError as error:
        print(json.dumps(error.document()), file=sys.stderr)
        return error.exit_code
    print(f"{stage}: {said or 'done'} in {time.monotonic() - began:.2f} s", file=sys.stderr)
    return 0
