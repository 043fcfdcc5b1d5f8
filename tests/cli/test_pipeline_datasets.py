"""A pipeline on a running Bushel whose tasks read and write data sets: from recordings to shards and back again."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import bushel
from tests.running_bushel import RunningBushel

DECODE = """
import os
from bushel import data
name = os.environ["BUSHEL_PARTITION"]
recording = data.input("recordings").part(name)
def decode(line):
    return float(line)
with data.output("frames") as out:
    (file,) = recording.files()
    lines = file.read().decode().split()
    speeds = [speed for _, speed in data.records(lines, decode)]
    with out.open("speeds.txt", records=len(speeds)) as target:
        target.write("\\n".join(map(str, speeds)).encode())
    out.schema({"speed": "double"})
    out.column("speed", speeds)
data.progress(1, 1, unit="recordings")
"""

SHARD = """
from bushel import data
with data.output("shards") as out:
    for file in data.upstream("decode", "frames").files():
        with out.open("shard.tar", records=file.records) as target:
            target.write(b"shard of " + file.read())
"""

COUNT = """
from bushel import data
total = sum(file.records for file in data.input("shards").files())
with data.output("counts") as out:
    with out.open("total.txt") as target:
        target.write(str(total).encode())
"""


@pytest.mark.slow
def test_recordings_become_shards_and_a_shard_tells_where_it_came_from(running: RunningBushel, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    stored, recordings, scripts = tmp_path / "stored", tmp_path / "recordings", tmp_path / "scripts"
    for folder in (stored, recordings, scripts):
        folder.mkdir()
    for name, script in (("decode", DECODE), ("shard", SHARD), ("count", COUNT)):
        (scripts / f"{name}.py").write_text(script)
    for number in range(4):
        (recordings / f"drive-{number}").write_text("\n".join(["1.5", "2.5", "broken" if number == 2 else "3.5"]))

    def ok(*arguments: str) -> str:
        ran = running.run(*arguments, cwd=scripts)
        assert ran.code == 0, (arguments, ran.out, ran.err)
        return ran.out

    ok("storage", "add", "pipeline-store", str(stored))
    for name in ("lake/recordings", "lake/frames", "lake/shards", "lake/counts"):
        ok("dataset", "add", name, "--place", "pipeline-store")
    ok("dataset", "upload", "lake/recordings", str(recordings))
    source = str(Path(bushel.__file__).parents[1])
    document = {
        "name": "lake",
        "partitions": {"list": [f"drive-{number}" for number in range(4)]},
        "defaults": {"env": {"PYTHONPATH": source}, "workdir": ".", "resources": {"cpu": 0.2, "memory": "256MiB"}},
        "stages": {
            "decode": {
                "run": [sys.executable, "decode.py"],
                "inputs": {"recordings": "lake/recordings@latest"},
                "outputs": {"frames": "lake/frames"},
                "bad_records": {"most": 10},
            },
            "shard": {"run": [sys.executable, "shard.py"], "after": ["decode"], "outputs": {"shards": "lake/shards"}},
            "count": {"once": True, "run": [sys.executable, "count.py"], "after": ["shard"], "outputs": {"counts": "lake/counts"}},
        },
    }
    (scripts / "lake.json").write_text(json.dumps(document))
    ran = running.run("pipeline", "apply", "lake.json", "--run", "--wait", cwd=scripts)
    assert ran.code == 0, (ran.out, ran.err, running.run("pipeline", "get", "lake").out)

    frames = json.loads(ok("dataset", "get", "lake/frames", "-o", "json"))
    assert frames["counts"]["records"] == 11
    assert frames["counts"]["parts"] == 4
    assert frames["statistics"]["columns"]["speed"]["max"] == 3.5
    counts = tmp_path / "counts"
    ok("dataset", "download", "lake/counts", str(counts))
    assert (counts / "all" / "total.txt").read_text() == "11"
    assert running.run("dataset", "verify", "lake/shards").code == 0

    story = ok("dataset", "lineage", "lake/shards", "--part", "drive-3")
    assert "lake/frames@1  by lake.decode run 1" in story
    assert "lake/recordings@1" in story
    assert "lake/counts@1  by lake.count run 1" in story
    assert "attempt" in story
    part = json.loads(ok("dataset", "lineage", "lake/shards", "--part", "drive-3", "-o", "json"))["part"]
    (frames_part,) = part["sources"]
    assert (frames_part["dataset"], frames_part["version"], frames_part["part"]) == ("lake/frames", 1, "drive-3")
    assert frames_part["attempt"]["node"]
    (recording,) = frames_part["sources"]
    assert (recording["dataset"], recording["version"], recording["part"]) == ("lake/recordings", 1, "drive-3")
    assert part["attempt"]["node"]
    assert part["attempt"]["code"].startswith("sha256:")
    again = running.run("pipeline", "run", "lake", "--wait", cwd=scripts)
    assert again.code == 0, again.err
    assert ok("dataset", "versions", "lake/shards", "-o", "name") == "lake/shards@1\n", "the same content is the same version"
    assert os.listdir(stored / "versions")
