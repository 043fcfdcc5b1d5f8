"""docs/guides/pipelines.md#try-a-change-on-a-sample-first against a running Bushel whose tasks write real data sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import bushel
from tests.running_bushel import RunningBushel

DECODE = """
import sys
from bushel import data
rows = int(sys.argv[1])
with data.output("frames") as out:
    with out.open("speeds.txt", records=rows) as target:
        target.write(b"10\\n" * rows)
    out.schema({"speed": "double"})
    out.column("speed", [10.0] * rows)
"""


@pytest.mark.slow
def test_a_change_is_tried_on_a_sample_and_stops_until_somebody_lets_it_pass(running: RunningBushel, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    stored, scripts = tmp_path / "stored", tmp_path / "scripts"
    stored.mkdir()
    scripts.mkdir()
    (scripts / "decode.py").write_text(DECODE)

    def ok(*arguments: str) -> str:
        ran = running.run(*arguments, cwd=scripts)
        assert ran.code == 0, (arguments, ran.out, ran.err)
        return ran.out

    def write(rows: int) -> None:
        document = {
            "name": "careful",
            "partitions": {"list": [{"name": f"day-{number}", "digest": f"sha256:{number}"} for number in range(5)]},
            "defaults": {"env": {"PYTHONPATH": str(Path(bushel.__file__).parents[1])}, "workdir": ".", "resources": {"cpu": 0.2}},
            "canary": {"count": 2, "gates": {"rows": "within 10%", "schema": "same", "columns": {"speed": {"mean": "within 1%"}}}},
            "stages": {"decode": {"run": [sys.executable, "decode.py", str(rows)], "outputs": {"frames": "careful/frames"}}},
        }
        (scripts / "careful.json").write_text(json.dumps(document))

    ok("storage", "add", "careful-store", str(stored))
    ok("dataset", "add", "careful/frames", "--place", "careful-store")
    write(100)
    plan = ok("pipeline", "plan", "careful.json")
    assert "canary: 2 of 5 partitions first, through decode; then the rest, if 4 gates hold" in plan
    assert "beside  careful/frames, which has no version yet" in plan
    ok("pipeline", "apply", "careful.json", "--run", "--wait")
    assert "4 gates held over 2 of 5 partitions" in ok("pipeline", "get", "careful")

    write(50)
    assert "beside  careful/frames version 1" in ok("pipeline", "plan", "careful.json")
    ran = running.run("pipeline", "apply", "careful.json", "--run", "--wait", cwd=scripts)
    assert ran.code == 100, ran.out + ran.err
    assert "the canary's gate `rows of careful/frames within 10%` does not hold: it is 100, and 200 in version 1" in ran.out
    assert "gate        rows of careful/frames within 10%: broken (100; 200 in version 1)" in ran.out
    assert "gate        mean of speed in careful/frames within 1%: held (10; 10 in version 1)" in ran.out
    assert ok("dataset", "versions", "careful/frames", "-o", "name") == "careful/frames@1\n"
    sample = json.loads(ok("pipeline", "get", "careful", "-o", "json"))["canary"]
    assert (sample["state"], sample["count"], len(sample["partitions"])) == ("failed", 2, 2)

    ran = running.run("pipeline", "approve", "careful", "--run", "2", "--message", "half of them were doubled", "--wait", cwd=scripts)
    assert ran.code == 0, ran.out + ran.err
    assert "canary      admin let it pass: half of them were doubled" in ran.out
    assert "2 of them taken over" in ran.out
    assert ok("dataset", "versions", "careful/frames", "-o", "name") == "careful/frames@2\ncareful/frames@1\n"
    assert "run:approve" in ok("audit", "-o", "json")
    ran = running.run("pipeline", "approve", "careful", "--message", "again")
    assert ran.code == 6
    assert "no gate of a canary stopped run 3" in ran.err
