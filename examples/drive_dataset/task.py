"""One stage as a task of the platform: `python task.py STAGE`, with a Python that has `bushel`.

Guarantees: it does what `python -m drive_dataset STAGE` does, on a workspace made of the parts that earlier stages left, and leaves what
that makes as a part of its own. A bad recording is set aside with its error, and the run goes on with the others: what follows finds
nothing of it and makes nothing of it. Data is read and written at this site alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bushel import data

HERE = Path(__file__).parent
PYTHON = HERE / "python"
BAD_RECORD_EXIT_CODE = 65
SECONDS = 1800

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
        return one(stage, workspace, partition) if stage in FILLS else of_a_site(stage, workspace)


def ingest(workspace: Path, jurisdiction: str) -> int:
    """List what lies at this site; the partitions that follow are its recordings, to be worked on here alone."""
    folders = [word for word in os.environ[f"BUSHEL_PARAMETER_{jurisdiction.upper()}"].split(",") if word]
    words = [word for name in folders for word in ("--only", name)]
    run("ingest", workspace, os.environ["BUSHEL_PARAMETER_DATA"], "--jurisdiction", jurisdiction, *words)
    register = json.loads((workspace / "register.json").read_text())
    data.partitions({"name": f"{jurisdiction}-{one['id']}", "site": os.environ["BUSHEL_SITE"]} for one in register["recordings"])
    with data.output("register") as out:
        out.add(workspace / "register.json", "register.json", records=len(register["recordings"]))
        out.count("kinds", {one["kind"]: 0 for one in register["recordings"]})
        for one in register["recordings"]:
            out.count("kinds", {one["kind"]: 1})
        out.count("refused", {one["code"]: 1 for one in register["refused"]})
    for refused in register["refused"]:
        print(f"{refused['record']}: {refused['code']}: {refused['message']}", file=sys.stderr)
    return 0


def one(stage: str, workspace: Path, partition: str) -> int:
    jurisdiction, _, recording = partition.partition("-")
    if stage == "validate":
        (register,) = data.input("register").part(jurisdiction).files()
        whole = json.loads(register.read())
        kept = [about for about in whole["recordings"] if about["id"] == recording]
        (workspace / "register.json").write_text(json.dumps({"recordings": kept}))
    for before in NEEDS.get(stage, ()):
        lay_out(workspace, data.upstream(before, OUTPUT[before]).files())
    made = workspace / FILLS[stage]
    if stage == "validate" or ((workspace / "register.json").exists() and not (workspace / "set-aside.json").exists()):
        for _ in data.records([recording], lambda one: work(stage, workspace, one)):
            pass
    with data.output(OUTPUT[stage]) as out:
        files = sorted(path for path in made.rglob("*") if path.is_file()) if made.is_dir() else []
        for path in files:
            out.add(path, path.relative_to(workspace).as_posix())
        out.records = bool(files)
        if stage == "validate":
            out.add(workspace / "register.json", "register.json")
        if not files:
            (workspace / "set-aside.json").write_text(json.dumps({"recording": recording}))
            out.add(workspace / "set-aside.json", "set-aside.json")
    return 0


def work(stage: str, workspace: Path, recording: str) -> None:
    """
    Raises:
        BadRecord: with the code that says why.
    """
    done = run(stage, workspace, recording, check=False)
    if done == BAD_RECORD_EXIT_CODE:
        error = json.loads((workspace / "failed" / FILLS[stage] / f"{recording}.json").read_text())
        raise data.BadRecord(f"{error['code']}: {error['message']}")
    if done:
        sys.exit(done)


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
    """Parts as the workspace that they were taken from, without copying a byte where they lie in a folder."""
    for file in files:
        target = workspace / file.name
        if file.name == "register.json" and target.exists():  # of another recording of this site: one register of all
            register, more = json.loads(target.read_text()), json.loads(file.read())
            register["recordings"] += [about for about in more["recordings"] if about not in register["recordings"]]
            target.write_text(json.dumps(register))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.name == "register.json":
            target.write_bytes(file.read())
        elif not target.exists() and file.name != "set-aside.json":
            target.symlink_to(file.local())
        elif file.name == "set-aside.json":
            target.write_bytes(file.read())


def run(stage: str, workspace: Path, *words: str | Path, check: bool = True) -> int:
    """The stage in its own environment. `--only` and the like come after the workspace."""
    done = subprocess.run([PYTHON, "-m", "drive_dataset", stage, workspace, *words], check=False, timeout=SECONDS).returncode
    if done and check:
        sys.exit(done)
    return done


if __name__ == "__main__":
    sys.exit(main())
