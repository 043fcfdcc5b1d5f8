"""One stage as a task of the platform: `python task.py STAGE`, with a Python that has what the stages need.

Guarantees: it does what `python -m drive_dataset STAGE` does, on a workspace made of the parts that earlier stages left, and leaves what
that makes as a part of its own. A bad recording is set aside with its error, and the run goes on with the others: what follows finds
nothing of it and makes nothing of it. Data is read and written at this site alone.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path += os.environ.get("BUSHEL_PARAMETER_LIBRARY", "").split(os.pathsep)  # last: the stages' own libraries come first

from drive_dataset.__main__ import main as drive_dataset
from drive_dataset.errors import BAD_RECORD_EXIT_CODE, DriveError
from drive_dataset.stages import BY_RECORDING
from drive_dataset.workspace import Workspace, guarded

from bushel import data

SECONDS = 1800
MOST_TOGETHER = 32
CUT = 16
SHORT, SHORT_BYTES = "short", 8 << 20
"""Of less than this a stage is sooner done than the libraries of a task are loaded, and so also with others of other kinds."""

NEEDS: dict[str, tuple[str, ...]] = {  # stage of one recording → stages whose parts of that recording it reads
    "decode": ("validate",),
    "synchronise": ("validate", "decode"),
    "protect": ("validate", "synchronise"),
    "select": ("validate", "decode", "protect"),
}
FILLS = {"validate": "validated", "decode": "decoded", "synchronise": "synchronised", "protect": "protected", "select": "selected"}
OF_A_SITE = {  # stage of all recordings of a site → (whole data sets it reads, stages whose part of this site it reads, what it leaves)
    "split": (("validated", "decoded", "protected", "selected"), (), ("split.json",)),
    "shard": (("validated", "decoded", "protected", "selected"), ("split",), ("shards",)),
    "measure": ((), ("split", "shard"), ("statistics.json",)),
    "publish": ((), ("shard", "measure"), ("published",)),
    "train": ((), ("publish",), ("trained.json",)),
}
OUTPUT = {"split": "split", "shard": "candidates", "measure": "measured", "publish": "training", "train": "trained", **FILLS}


def main() -> int:
    stage, partition = sys.argv[1], os.environ["BUSHEL_PARTITION"]
    with tempfile.TemporaryDirectory(prefix="drive-", dir=os.environ.get("TMPDIR")) as folder:
        workspace = Path(folder)
        if stage == "ingest":
            return ingest(workspace, partition)
        return some(stage, workspace, partition) if stage in FILLS else of_a_site(stage, workspace)


def ingest(workspace: Path, jurisdiction: str) -> int:
    """List what lies at this site; the partitions that follow are groups of its recordings, to be worked on here alone."""
    folders = [word for word in os.environ[f"BUSHEL_PARAMETER_{jurisdiction.upper()}"].split(",") if word]
    words = [word for name in folders for word in ("--only", name)]
    run("ingest", workspace, os.environ["BUSHEL_PARAMETER_DATA"], "--jurisdiction", jurisdiction, *words)
    register = json.loads((workspace / "register.json").read_text())
    data.partitions({"name": name, "site": os.environ["BUSHEL_SITE"]} for name in groups(jurisdiction, register["recordings"]))
    with data.output("register") as out:
        out.add(workspace / "register.json", "register.json", records=len(register["recordings"]))
        out.count("kinds", {one["kind"]: 0 for one in register["recordings"]})
        for one in register["recordings"]:
            out.count("kinds", {one["kind"]: 1})
        out.count("refused", {one["code"]: 1 for one in register["refused"]})
    for refused in register["refused"]:
        print(f"{refused['record']}: {refused['code']}: {refused['message']}", file=sys.stderr)
    return 0


def groups(jurisdiction: str, recordings: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Recordings that one task works on: of one kind, so that its libraries are loaded once, or short ones; named after the first.

    Where a group ends is written in the ids, which are digests: a recording that comes later changes its own group and no other.
    """
    made: dict[str, list[Mapping[str, Any]]] = {}
    group: list[Mapping[str, Any]] = []
    before = ""
    for its_class, _, identity, one in sorted(
        ((_class_of(one), one["kind"], one["id"], one) for one in recordings), key=lambda entry: entry[:3]
    ):
        if not group or before != its_class or len(group) == MOST_TOGETHER or int(identity, 16) % CUT == 0:
            group = made[f"{jurisdiction}-{its_class}-{identity}"] = []
        group.append(one)
        before = its_class
    return made


def _class_of(recording: Mapping[str, Any]) -> str:
    """What a recording shares a task with: its kind, unless it is short."""
    size = sum(file["bytes"] for file in recording["files"])
    return SHORT if size < SHORT_BYTES else recording["kind"]


def some(stage: str, workspace: Path, partition: str) -> int:
    """A stage over the recordings of one group."""
    jurisdiction = partition.partition("-")[0]
    if stage == "validate":
        (register,) = data.input("register").part(jurisdiction).files()
        group = groups(jurisdiction, json.loads(register.read())["recordings"])[partition]
        (workspace / "register.json").write_text(json.dumps({"recordings": group}))
    for before in NEEDS.get(stage, ()):
        lay_out(workspace, data.upstream(before, OUTPUT[before]).files())
    filled = Workspace(workspace)
    before, work = BY_RECORDING[FILLS[stage]]
    for _, failed in data.records(filled.done(before), lambda one: worked(filled, one, work), timeout_seconds=SECONDS):
        if failed:
            sys.exit(failed)
    made, done = workspace / FILLS[stage], filled.done(FILLS[stage])
    with data.output(OUTPUT[stage]) as out:
        for path in sorted(path for path in made.rglob("*") if path.is_file()) if made.is_dir() else ():
            out.add(path, path.relative_to(workspace).as_posix())
        out.records = len(done)
        if stage == "validate":
            out.add(workspace / "register.json", "register.json")
        if aside := sorted(set(filled.recordings) - set(done)):
            (workspace / "set-aside.json").write_text(json.dumps({"recordings": aside}))
            out.add(workspace / "set-aside.json", "set-aside.json")
    return 0


def worked(workspace: Workspace, recording: str, work: Any) -> int:
    """What the task has to end with because of something that is no fault of the recording; 0 if there was nothing.

    Raises:
        BadRecord: with the code that says why.
    """
    try:
        guarded(recording, lambda one: work(workspace, one))
    except DriveError as error:
        if error.exit_code == BAD_RECORD_EXIT_CODE:
            raise data.BadRecord(f"{error.code}: {error.message}") from error
        print(json.dumps(error.document()), file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def of_a_site(stage: str, workspace: Path) -> int:
    whole, before, leaves = OF_A_SITE[stage]
    for name in whole:
        for part in data.input(name).parts(here=True):
            lay_out(workspace, part.files())
    for name in before:
        lay_out(workspace, data.upstream(name, OUTPUT[name]).files())
    if stage == "train":
        (version,) = (workspace / "published").iterdir()
        (workspace / "published" / "latest").symlink_to(version.name)
    run(stage, workspace)
    with data.output(OUTPUT[stage]) as out:
        for path in files_of(workspace, leaves):
            out.add(path, path.relative_to(workspace).as_posix())
    if stage == "publish":
        released = workspace / "released" / "statistics.json"
        samples = json.loads(released.read_text())["statistics"]["samples"]
        with data.output("statistics") as out:
            out.add(released, "statistics.json", records=samples)
    return 0


def files_of(workspace: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """Files, but no links: the pointer to the newest version is the platform's to keep."""
    for name in names:
        path = workspace / name
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in below if file.is_file() and "latest" not in file.parts)


def lay_out(workspace: Path, files: Iterator[data.File]) -> None:
    """Parts as the workspace that they were taken from, without copying a byte where they lie in a folder.

    A folder of one recording is linked as a whole: a part never changes, and no stage writes where another has written.
    """
    for file in files:
        target = workspace / file.name
        if file.name == "register.json":  # one of all recordings that are laid out here
            known = json.loads(target.read_text())["recordings"] if target.exists() else []
            known += [about for about in json.loads(file.read())["recordings"] if about not in known]
            target.write_text(json.dumps({"recordings": known}))
        elif file.name != "set-aside.json":
            link(workspace, target, file.local())


def link(workspace: Path, target: Path, local: Path) -> None:
    if target.exists():
        return
    folder = target.parent
    if folder.is_symlink():  # another part has files of this folder: link what is there one by one
        shared = folder.readlink()
        folder.unlink()
        folder.mkdir()
        for path in shared.iterdir():
            (folder / path.name).symlink_to(path)
    if folder.exists() or folder.parent == workspace or folder == workspace:
        folder.mkdir(parents=True, exist_ok=True)
        target.symlink_to(local)
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(local.parent)


def run(stage: str, workspace: Path, *words: str) -> None:
    """All of a stage. `--only` and the like come after the workspace."""
    if code := drive_dataset([stage, str(workspace), *words]):
        sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())
