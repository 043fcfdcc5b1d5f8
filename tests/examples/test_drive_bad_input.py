"""Whatever lies in a folder of recordings ends as a named failure of that record alone."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import Probe
from tests.small_disk import needs_root, small_disk

pytestmark = pytest.mark.timeout(300)

GOOD = "aarhus-1.mf4"


def mdf(generated: Path) -> Path:
    return generated / "denmark" / "can" / GOOD


@pytest.fixture(scope="module")
def mess(tmp_path_factory: pytest.TempPathFactory, generated: Path, probe: Probe) -> Path:
    """A folder with one good recording, and everything that should not be there."""
    folder = tmp_path_factory.mktemp("mess")
    good = folder / "good"
    good.mkdir()
    shutil.copy(mdf(generated), good)
    shutil.copy(generated / "denmark" / "can" / "car.dbc", good)
    shutil.copy(mdf(generated), folder / "good" / "a copy by another name.bin")

    (folder / "noise.MF4").write_bytes(bytes(range(256)) * 64)
    (folder / "empty.mcap").touch()
    for name, head in (("sparse.bin", b""), ("sparse.MF4", b"MDF     4.11    ")):
        with (folder / name).open("wb") as file:
            file.write(head)
            file.truncate(4 << 30)
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("drive.MF4", bytes(64 << 20))
    with zipfile.ZipFile(folder / "honest.zip", "w") as archive:
        archive.write(mdf(generated), GOOD)
    (folder / "packed.gz").write_bytes(gzip.compress(mdf(generated).read_bytes()))

    (folder / "other car").mkdir()
    shutil.copy(generated / "denmark" / "can" / "aarhus-2.mf4", folder / "other car")
    other = 'VERSION ""\n\nBU_: X\n\nBO_ 1 engine: 8 X\n SG_ Rpm : 0|16@1+ (1,0) [0|8000] "rpm" X\n'
    (folder / "other car" / "wrong.dbc").write_text(other)
    (folder / "no dbc").mkdir()
    (folder / "cut").mkdir()
    probe("bad_files", generated, folder)
    return folder


@pytest.fixture(scope="module")
def outcome(mess: Path, probe: Probe) -> dict[str, Any]:
    return probe("facts", mess)


def refusal(outcome: dict[str, Any], name: str) -> str:
    found = [one["code"] for one in outcome["refused"] if one["record"] == name]
    found += [value["error"]["code"] for key, value in outcome["recordings"].items() if key == name and "error" in value]
    assert len(found) == 1, (name, found)
    return found[0]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("noise.MF4", "not_a_recording"),
        ("empty.mcap", "empty_file"),
        ("sparse.bin", "sparse_file"),
        ("sparse.MF4", "sparse_file"),
        ("bomb.zip", "bomb"),
        ("honest.zip", "archive"),
        ("packed.gz", "archive"),
        ("bomb.mcap", "bomb"),
        ("other car/aarhus-2.mf4", "description_mismatch"),
        ("no dbc/log.mf4", "no_description"),
        ("no key frames.mp4", "no_key_frames"),
        ("half a head.mf4", "damaged"),
        ("twins/first.mf4", "identity_conflict"),
        ("twins/second.mf4", "identity_conflict"),
        ("clocks apart", "clocks_apart"),
    ],
)
def test_each_is_refused_for_what_it_is(outcome: dict[str, Any], name: str, code: str) -> None:
    assert refusal(outcome, name) == code


def test_the_good_one_among_them_is_read_once_and_its_copy_found(outcome: dict[str, Any]) -> None:
    usable = [name for name in (f"good/{GOOD}", "good/a copy by another name.bin") if name in outcome["recordings"]]
    assert len(usable) == 1
    assert outcome["recordings"][usable[0]]["facts"]["can_frames"] == 6_000
    assert len([one for one in outcome["duplicates"] if one["original"] == usable[0]]) == 1


@pytest.mark.parametrize("name", ["cut/drive.mcap", "cut/drive.pcap", "cut/drive.mp4", "cut/segment"])
def test_what_is_cut_is_used_as_far_as_it_goes_and_says_so(outcome: dict[str, Any], name: str) -> None:
    recording = outcome["recordings"][name]
    assert "error" not in recording, recording
    assert recording["end"] > recording["start"]


def test_validation_says_what_is_cut(probe: Probe, mess: Path) -> None:
    said = probe("validated", mess)
    for name in ("cut/drive.mcap", "cut/drive.pcap", "cut/drive.mp4", "cut/segment"):
        assert "truncated" in said[name], (name, said[name])
    assert said[next(name for name in said if name.startswith("good/"))] == []


def test_every_refusal_is_a_sentence_and_names_its_record(outcome: dict[str, Any]) -> None:
    errors = outcome["refused"] + [value["error"] for value in outcome["recordings"].values() if "error" in value]
    for error in errors:
        assert set(error) == {"code", "message", "record"}
        assert error["record"]
        assert len(error["message"]) > 10, error


def test_mended_signals_are_the_true_ones_again(probe: Probe) -> None:
    """Time set back, samples out of order, units mislabelled, sign turned, places at 0°, 0°: each found, named and put right."""
    mended = probe("mended")
    assert mended == {name: {"found": True, "right": True, "again": []} for name in mended}
    assert {"km/h", "mph", "g", "deg/s", "turned round", "1e-7 degrees", "late samples", "clock set back", "no fix"} <= set(mended)


def test_a_bad_record_ends_the_stage_with_its_name_and_leaves_the_others(
    stage: Callable[..., subprocess.CompletedProcess[str]], mess: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    assert stage("drive_dataset", "ingest", workspace, mess, "--jurisdiction", "dk").returncode == 0
    validated = stage("drive_dataset", "validate", workspace)
    decoded = stage("drive_dataset", "decode", workspace)
    assert validated.returncode == decoded.returncode == 65
    failed = {json.loads(path.read_text())["name"] for path in (workspace / "failed").rglob("*.json")}
    assert {"other car/aarhus-2.mf4", "no dbc/log.mf4", "clocks apart", "no key frames.mp4"} <= failed
    register = {one["id"]: one["name"] for one in json.loads((workspace / "register.json").read_text())["recordings"]}
    done = {register[path.name] for path in (workspace / "decoded").iterdir()}
    assert any(name.startswith("good/") for name in done)
    assert not done & failed


@needs_root
def test_a_disk_that_fills_up_in_mid_shard_leaves_no_shard(probe: Probe, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2 << 20) as disk:
        said = probe("full_disk", disk)
    assert said["code"] == "no_space"
    assert said["left"] == []


def test_a_file_that_may_not_grow_further_leaves_no_shard(probe: Probe, tmp_path: Path) -> None:
    said = probe("full_disk", tmp_path, "1000000")
    assert said["code"] == "no_space"
    assert said["left"] == []


def test_the_sparse_file_took_no_disk_and_no_time(mess: Path) -> None:
    assert os.stat(mess / "sparse.MF4").st_blocks * 512 < 1 << 20
