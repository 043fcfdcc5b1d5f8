"""The stages over a workspace: what each takes, and what it leaves for the next.

Each imports what it needs when it is called: a task runs one stage, and the libraries of all take a second to load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drive_dataset.files import read_json, read_parquet, write_json
from drive_dataset.workspace import (
    DECODED,
    PROTECTED,
    PUBLISHED,
    SELECTED,
    SHARDS,
    SPLIT,
    STATISTICS,
    SYNCHRONISED,
    TRAINED,
    VALIDATED,
    Workspace,
)  # fmt: skip

if TYPE_CHECKING:
    from drive_dataset.samples import Sample
    from drive_dataset.split import Whereabouts


def register(workspace: Workspace, data: Path, jurisdiction: str, only: Sequence[str] = ()) -> str:
    from drive_dataset.ingest import ingest, write_register

    found = ingest(data, jurisdiction, only)
    workspace.root.mkdir(parents=True, exist_ok=True)
    write_register(found, workspace.path("register.json"))
    return f"{len(found.recordings)} recordings, {len(found.duplicates)} copies, {len(found.refused)} refused"


def validate_one(workspace: Workspace, recording: str) -> None:
    from drive_dataset import validate

    about = workspace.recordings[recording]
    write_json(workspace.path(VALIDATED, f"{recording}.json"), validate.document(about, validate.validate(about)))


def decode_one(workspace: Workspace, recording: str) -> None:
    from drive_dataset.decode import decode_to

    decode_to(workspace.recordings[recording], workspace.path(DECODED))


def synchronise_one(workspace: Workspace, recording: str) -> None:
    from drive_dataset import records, synchronise

    decoded = records.load(workspace.path(DECODED, recording))
    synchronise.save(synchronise.synchronise(decoded), workspace.path(SYNCHRONISED, recording))


def protect_one(workspace: Workspace, recording: str) -> None:
    from drive_dataset import protect, synchronise

    policy = protect.policy_of(workspace.recordings[recording].jurisdiction)
    whole = synchronise.load(workspace.path(SYNCHRONISED, recording))
    synchronise.save(protect.protect(whole, policy), workspace.path(PROTECTED, recording))


def select_one(workspace: Workspace, recording: str) -> None:
    from drive_dataset import protect, records, selection, synchronise

    about = workspace.recordings[recording]
    decoded = records.load(workspace.path(DECODED, recording))
    cheap = synchronise.load(workspace.path(PROTECTED, recording))
    selection.select_to(about, decoded, cheap, protect.policy_of(about.jurisdiction), workspace.path(SELECTED, recording))


def whereabouts(workspace: Workspace) -> list[Whereabouts]:
    from drive_dataset import split, synchronise

    rows = []
    for recording in workspace.done(SELECTED):
        clock = read_json(workspace.path(DECODED, recording, "recording.json"))["clock"]
        rows.append(split.whereabouts(synchronise.load(workspace.path(PROTECTED, recording)), clock, workspace.recordings[recording]))
    return rows


def split_all(workspace: Workspace) -> str:
    from drive_dataset import split

    rows = whereabouts(workspace)
    sides = split.split(rows)
    split.refuse_leaks(rows, sides)
    write_json(workspace.path(SPLIT), split.document(rows, sides))
    return f"{len(rows)} recordings in {len(split.groups(rows))} groups that share no drive, place or time"


def all_samples(workspace: Workspace) -> Iterator[Sample]:
    from drive_dataset import synchronise
    from drive_dataset.samples import samples

    for recording in workspace.done(SELECTED):
        cheap = synchronise.load(workspace.path(PROTECTED, recording))
        yield from samples(workspace.recordings[recording], cheap, workspace.path(SELECTED, recording))


def shard_all(workspace: Workspace) -> str:
    from drive_dataset import sharding

    sides = read_json(workspace.path(SPLIT))["sides"]
    rows = sharding.write_shards(all_samples(workspace), sides, workspace.path(SHARDS))
    return f"{len(rows)} samples in {len({row['shard'] for row in rows})} shards"


def measure_all(workspace: Workspace) -> str:
    from drive_dataset import publishing, sharding, split, statistics

    divided = read_json(workspace.path(SPLIT))
    rows = read_parquet(workspace.path(SHARDS, sharding.INDEX)).to_pylist()
    seen = [split.Whereabouts(**{**row, "cells": tuple(row["cells"]), "sources": tuple(row["sources"])}) for row in divided["rows"]]
    now = statistics.statistics(rows, split.leaks(seen, divided["sides"]))
    before = workspace.path(PUBLISHED, "latest", publishing.MANIFEST)
    checked = statistics.gates(now, read_json(before)["statistics"] if before.exists() else None)
    write_json(workspace.path(STATISTICS), {"statistics": now, "gates": checked})
    statistics.refuse_closed_gates(checked)
    return f"{now['samples']} samples, {len(checked)} gates hold"


def publish_all(workspace: Workspace) -> str:
    from drive_dataset import publishing, statistics

    measured = read_json(workspace.path(STATISTICS))
    statistics.refuse_closed_gates(measured["gates"])
    labels = {"jurisdictions": measured["statistics"]["jurisdictions"], "coordinates": "wgs84, cut to the policy", "purpose": "training"}
    version = publishing.publish(workspace.path(SHARDS), measured["statistics"], measured["gates"], labels, workspace.path(PUBLISHED))
    publishing.release(workspace.path(PUBLISHED), version, workspace.path("released", "statistics.json"))
    return f"version {version}"


def train_all(workspace: Workspace) -> str:
    from drive_dataset import training

    trained = training.train(workspace.path(PUBLISHED, "latest").resolve())
    write_json(workspace.path(f"{TRAINED}.json"), trained.document())
    tested = "" if trained.test_loss is None else f"; on the test side {trained.test_loss:.4f} (no change: {trained.naive_test_loss:.4f})"
    return f"{trained.samples} samples, loss {trained.first_loss:.4f} → {trained.last_loss:.4f}{tested}"


BY_RECORDING: dict[str, tuple[str, Any]] = {
    VALIDATED: ("register", validate_one),
    DECODED: (VALIDATED, decode_one),
    SYNCHRONISED: (DECODED, synchronise_one),
    PROTECTED: (SYNCHRONISED, protect_one),
    SELECTED: (PROTECTED, select_one),
}
"""Stage (and the folder it fills) → the stage before it, what it does."""

ONCE: dict[str, Any] = {"split": split_all, "shard": shard_all, "measure": measure_all, "publish": publish_all, "train": train_all}
