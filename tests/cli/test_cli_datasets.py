"""`bushel dataset` and `bushel storage` against a running Bushel: from a folder to a version, and all that is asked of it."""

from __future__ import annotations

import json
from pathlib import Path

import attr
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

from tests.faults.platform import wait_for
from tests.running_bushel import PROJECT, RunningBushel


def ok(running: RunningBushel, *arguments: str) -> str:
    ran = running.run(*arguments)
    assert ran.code == 0, (arguments, ran.out, ran.err)
    return ran.out


def test_a_folder_becomes_versions_and_their_story_can_be_told(running: RunningBushel, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    stored, recordings, back = tmp_path / "stored", tmp_path / "recordings", tmp_path / "back"
    (recordings / "drive-1").mkdir(parents=True)
    (recordings / "drive-1" / "can.mf4").write_bytes(b"frames")
    (recordings / "drive-2.mcap").write_bytes(b"messages")
    added = running.run("storage", "add", "default", str(stored), "--scope", PROJECT)
    assert f"There is no folder {stored} on this machine" in added.err
    assert "default" in ok(running, "storage", "ls")
    ok(running, "dataset", "add", "drive/recordings", "--purpose", "training", "--coordinate-system", "wgs84")
    assert "such as drive/frames" in running.run("dataset", "add", "Drive/Recordings").err
    refused = running.run("dataset", "upload", "drive/recordings", str(recordings))
    assert f"error: the folder {stored} of the place default is not here" in refused.err
    assert "report" not in refused.err
    stored.mkdir()
    ok(running, "dataset", "add", "drive/frames")
    assert ok(running, "dataset", "upload", "drive/recordings", str(recordings), "-o", "name") == "drive/recordings@1\n"
    again = ok(running, "dataset", "upload", "drive/recordings", str(recordings))
    assert again == "drive/recordings@1: 2 parts · 2 files · 14 B, as before: nothing has changed\n"
    (recordings / "drive-2.mcap").write_bytes(b"more messages")
    (recordings / "drive-3.mcap").write_bytes(b"new")
    ok(running, "dataset", "upload", "drive/recordings", str(recordings))
    ok(running, "dataset", "upload", "drive/frames", str(recordings), "--made-of", "drive/recordings@2")

    assert "drive/frames" in ok(running, "dataset", "ls")
    shown = ok(running, "dataset", "get", "drive/frames")
    assert "3 parts" in shown
    assert "drive/recordings@2" in shown
    assert "\n  purpose           training\n" in shown, "as wide as its widest word"
    difference = ok(running, "dataset", "diff", "drive/recordings")
    assert "added       1 part: drive-3.mcap" in difference
    assert "changed     1 part: drive-2.mcap" in difference
    assert "drive-1" in ok(running, "dataset", "parts", "drive/recordings@1")
    assert ok(running, "dataset", "versions", "drive/recordings", "-o", "name").split() == ["drive/recordings@2", "drive/recordings@1"]

    up = ok(running, "dataset", "lineage", "drive/frames")
    assert "drive/recordings@2" in up
    down = ok(running, "dataset", "lineage", "drive/recordings@2")
    assert "used for\n    drive/frames@1" in down
    assert "digest" not in down
    events = [json.loads(line) for line in ok(running, "dataset", "lineage", "drive/frames", "--openlineage").splitlines()]
    assert [read_event(event).eventType for event in events] == [RunState.START, RunState.COMPLETE]
    assert [each.name for each in read_event(events[1]).inputs or ()] == ["drive/recordings"]

    ok(running, "dataset", "download", "drive/recordings@1", str(back))
    assert (back / "drive-1" / "can.mf4").read_bytes() == b"frames"
    assert (back / "drive-2.mcap" / "drive-2.mcap").read_bytes() == b"messages"

    ok(running, "dataset", "pin", "drive/recordings@1", "--for", "model-7", "--reason", "trained on it")
    assert "model-7" in ok(running, "dataset", "pins", "drive/recordings")
    refused = running.run("dataset", "remove", "drive/recordings@1")
    assert refused.code == 6
    assert "pinned by model-7" in refused.err
    ok(running, "dataset", "unpin", "drive/recordings@1", "--for", "model-7")
    ok(running, "dataset", "remove", "drive/recordings@1")
    assert running.run("dataset", "get", "drive/recordings@1").code == 5

    assert running.run("dataset", "verify", "drive/frames").code == 0
    victim = next(path for path in (stored / "parts").rglob("drive-3.mcap"))
    content = bytearray(victim.read_bytes())
    content[1] ^= 1
    victim.write_bytes(content)
    found = running.run("dataset", "verify", "drive/frames", "-o", "json")
    assert found.code == 1
    assert [problem["file"] for problem in json.loads(found.out)["problems"]] == ["drive-3.mcap"]

    wait_for("the manifests to be written", lambda: len(list((stored / "versions").glob("*.json.gz"))) >= 2, 20)


def read_event(event: dict) -> RunEvent:
    """Through the classes of OpenLineage's own client, which check what they are given."""

    def dataset(kind: type, given: dict) -> object:
        return kind(**{field.name: given.get(field.name, {}) for field in attr.fields(kind)})  # type: ignore[arg-type]

    return RunEvent(
        eventType=RunState[event["eventType"]],
        eventTime=event["eventTime"],
        run=Run(**event["run"]),
        job=Job(**event["job"]),
        producer=event["producer"],
        inputs=[dataset(InputDataset, each) for each in event["inputs"]],  # type: ignore[misc]
        outputs=[dataset(OutputDataset, each) for each in event["outputs"]],  # type: ignore[misc]
    )
