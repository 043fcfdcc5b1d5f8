"""From a folder of recordings to a published version: the same bytes each time, no leak, protected, usable."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest

import bushel
from tests.examples.conftest import EXAMPLE, Probe, drive_data

pytestmark = pytest.mark.timeout(300)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", params=["denmark", "california"])
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, generated: Path, stage: Run) -> Path:
    """Everything done once over the drives of one country."""
    folder = tmp_path_factory.mktemp(request.param) / "workspace"
    code = {"denmark": "dk", "california": "us"}[request.param]
    done = stage("drive_dataset.run_local", folder, generated / request.param, "--jurisdiction", code)
    assert done.returncode == 0, done.stderr
    return folder


def version(workspace: Path) -> Path:
    return (workspace / "published" / "latest").resolve()


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_same_recordings_make_the_same_bytes(workspace: Path, generated: Path, stage: Run, tmp_path: Path) -> None:
    """Stage by stage, each in a process of its own, as a platform runs them."""
    source = Path(json.loads((workspace / "register.json").read_text())["recordings"][0]["folder"])
    code = json.loads((workspace / "register.json").read_text())["recordings"][0]["jurisdiction"]
    again = tmp_path / "again"
    assert stage("drive_dataset", "ingest", again, source, "--jurisdiction", code).returncode == 0
    for name in ("validate", "decode", "synchronise", "protect", "select", "split", "shard", "measure", "publish"):
        done = stage("drive_dataset", name, again)
        assert done.returncode == 0, (name, done.stderr)
    assert version(again).name == version(workspace).name
    assert digests(version(again)) == digests(version(workspace))


def test_one_content_is_one_file_however_memory_lies(probe: Probe, tmp_path: Path) -> None:
    """A unit that several signals share stands in the file's dictionary once: twice, and the writer pads with what was in memory."""
    assert probe("same_bytes", tmp_path) == 1


def test_a_new_recording_changes_the_group_that_it_comes_into(probe: Probe) -> None:
    """examples/drive_dataset/README.md: recordings that a task works on together are of one kind, or short, and stay together."""
    library = os.pathsep.join(str(Path(module.__file__ or "").parents[1]) for module in (bushel, obstore))
    told = probe("groups", library)
    assert told["groups"] > 50
    assert 1 <= told["changed"] <= 2
    assert told["largest"] <= 32
    assert told["mixed"] == told["apart"] == 0
    assert 0 < told["short"] < told["groups"]
    assert told["once"]


def test_the_manifest_tells_every_file_of_a_version(workspace: Path) -> None:
    folder = version(workspace)
    manifest = json.loads((folder / "manifest.json").read_text())
    there = digests(folder)
    there.pop("manifest.json")
    assert {name: about["sha256"] for name, about in manifest["files"].items()} == there
    assert manifest["labels"]["jurisdictions"] == [{"denmark": "dk", "california": "us"}[workspace.parent.name.rstrip("0123456789")]]


def test_a_shard_says_nothing_of_when_or_by_whom_it_was_written(workspace: Path) -> None:
    for shard in version(workspace).glob("*.tar"):
        with tarfile.open(shard) as archive:
            members = archive.getmembers()
        assert members
        assert {(member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) for member in members} == {
            (0, 0, 0, "", "", 0o444)
        }


def test_every_sample_leads_back_to_the_second_of_its_drive(workspace: Path, probe: Probe) -> None:
    """The speed that the sample names is the speed of that recording at that second."""
    traced = probe("traced", workspace)
    assert traced["samples"] > 20
    assert traced["wrong"] == []


def test_only_statistics_leave_and_they_hold_no_place(workspace: Path) -> None:
    released = sorted(path.name for path in (workspace / "released").iterdir())
    assert released == ["statistics.json"]
    text = (workspace / "released" / "statistics.json").read_text()
    assert "latitude" not in text
    assert "longitude" not in text
    assert all(gate["holds"] for gate in json.loads(text)["gates"])


def test_places_are_on_the_grid_and_none_is_near_the_ends(workspace: Path, probe: Probe) -> None:
    for recording in probe("places", workspace):
        assert recording["off_grid"] == 0
        assert recording["kept"] == 0 or recording["nearest_to_an_end_metres"] > recording["trim_metres"] - 1
        assert not recording["names"], recording


def test_the_network_learns_through_the_ordinary_loaders(workspace: Path) -> None:
    trained = json.loads((workspace / "trained.json").read_text())
    assert trained["samples"] > 10
    assert trained["last_loss"] < 0.7 * trained["first_loss"]


def test_a_closed_gate_publishes_nothing(workspace: Path, stage: Run) -> None:
    before = sorted(path.name for path in (workspace / "published").iterdir())
    statistics = workspace / "statistics.json"
    good = statistics.read_bytes()
    measured = json.loads(good)
    measured["gates"][0]["holds"] = False
    statistics.write_text(json.dumps(measured))
    refused = stage("drive_dataset", "publish", workspace)
    statistics.write_bytes(good)
    assert refused.returncode == 1
    assert json.loads(refused.stderr.splitlines()[-1])["code"] == "gate_closed"
    assert sorted(path.name for path in (workspace / "published").iterdir()) == before


def test_a_planted_leak_is_found_whatever_it_leaks_by(probe: Probe) -> None:
    said = probe("leaks")
    assert said["clean"] == []
    assert said["place"]
    assert said["place"][0].startswith("place")
    assert said["time"]
    assert said["time"][0].startswith("time")
    assert said["split_leaks"] == 0, "what the stage divides never leaks, whatever it is given"


def test_a_recording_from_elsewhere_is_refused_where_it_was_brought(generated: Path, stage: Run, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    assert stage("drive_dataset", "ingest", workspace, generated / "denmark" / "can", "--jurisdiction", "us").returncode == 0
    for name in ("validate", "decode", "synchronise"):
        assert stage("drive_dataset", name, workspace).returncode == 0
    refused = stage("drive_dataset", "protect", workspace)
    assert refused.returncode == 65
    assert {json.loads(line)["code"] for line in refused.stderr.splitlines() if line.startswith("{")} == {"foreign_recording"}
    assert not (workspace / "protected").exists() or not list((workspace / "protected").iterdir())


@pytest.mark.skipif(drive_data() is None, reason="no real recordings here: name their folder in DRIVE_DATA")
def test_real_recordings_become_a_data_set_that_can_be_trained_on(recordings: Path, stage: Run, tmp_path: Path) -> None:
    done = stage("drive_dataset.run_local", tmp_path / "workspace", recordings)
    assert done.returncode == 0, done.stderr
    register = json.loads((tmp_path / "workspace" / "register.json").read_text())
    manifest = json.loads((version(tmp_path / "workspace") / "manifest.json").read_text())
    assert manifest["statistics"]["recordings"] >= len({recording["kind"] for recording in register["recordings"]})
    assert manifest["statistics"]["leaks"] == 0
    trained = json.loads((tmp_path / "workspace" / "trained.json").read_text())
    assert trained["last_loss"] < 0.7 * trained["first_loss"]


def test_the_lock_has_hashes_and_no_addresses() -> None:
    lock = (EXAMPLE / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock
    assert "http" not in lock
    assert "--index" not in lock
