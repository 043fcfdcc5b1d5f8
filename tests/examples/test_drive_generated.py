"""What is true of a generated drive is what the stages find in its recordings."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import Probe

pytestmark = pytest.mark.timeout(240)

RECORDINGS = {  # those that hold a whole drive → its name
    "aarhus-1.mf4": "aarhus-1",
    "aarhus-2.mf4": "aarhus-2",
    "segments/daly-city-1": "daly-city-1",
    "palo-alto-1.mcap": "palo-alto-1",
}


@pytest.fixture(scope="module")
def facts(probe: Probe, generated: Path) -> dict[str, Any]:
    return probe("facts", generated)


def of(facts: dict[str, Any], ending: str) -> dict[str, Any]:
    return next(value for name, value in facts["recordings"].items() if name.endswith(ending))


def truth(generated: Path, drive: str) -> dict[str, Any]:
    return json.loads((generated / "truth" / f"{drive}.json").read_text())


def test_every_kind_of_recording_is_written_and_read(facts: dict[str, Any]) -> None:
    assert {value["kind"] for value in facts["recordings"].values()} == {"mdf", "comma2k19", "ros1", "ros2", "mcap", "video", "lidar"}
    assert not [value["error"] for value in facts["recordings"].values() if "error" in value]
    assert facts["refused"] == facts["duplicates"] == []


@pytest.mark.parametrize(("ending", "drive"), RECORDINGS.items())
def test_the_speed_is_the_true_one(facts: dict[str, Any], generated: Path, ending: str, drive: str) -> None:
    """Whatever unit and coding the recorder chose."""
    found, true = of(facts, ending)["speed_10_hz"], truth(generated, drive)["speed_10_hz"]
    worst = max(abs(a - b) for a, b in zip(found, true, strict=False))
    assert worst < 0.25
    assert len(found) >= 0.99 * len(true)


@pytest.mark.parametrize(("ending", "drive"), RECORDINGS.items())
def test_the_way_is_as_long_as_it_was(facts: dict[str, Any], generated: Path, ending: str, drive: str) -> None:
    recording, metres = of(facts, ending), truth(generated, drive)["metres"]
    assert recording["metres_by_speed"] == pytest.approx(metres, rel=0.01)
    assert recording["metres_by_places"] == pytest.approx(metres, rel=0.02)


@pytest.mark.parametrize(("ending", "drive"), RECORDINGS.items())
def test_what_happened_is_found_when_it_happened_and_nothing_else(facts: dict[str, Any], generated: Path, ending: str, drive: str) -> None:
    found = of(facts, ending)["events"]
    true = truth(generated, drive)["events"]
    for event in true:
        near = [one for one in found if one["reason"] == event["reason"] and one["start"] - 1 <= event["at"] <= one["end"] + 1]
        assert near, (event, found)
    assert len(found) == len(true), found


def test_frames_and_messages_are_all_there(facts: dict[str, Any], generated: Path) -> None:
    assert of(facts, "aarhus-1.mf4")["facts"]["can_frames"] == truth(generated, "aarhus-1")["can_frames"]
    assert of(facts, "aarhus-1.mp4")["frames"][0]["count"] == len(truth(generated, "aarhus-1")["frames"])
    counts = {f"messages {topic}": count for topic, count in truth(generated, "palo-alto-1")["messages"].items()}
    assert of(facts, "palo-alto-1.mcap")["facts"] == counts
    halves = [of(facts, "bag2")["facts"], of(facts, "drive.bag")["facts"]]
    assert {topic: sum(half[topic] for half in halves) for topic in counts} == counts


def test_the_sweeps_show_the_car_ahead_where_it_was(probe: Probe, facts: dict[str, Any], generated: Path) -> None:
    true = truth(generated, "aarhus-1")["lidar"]
    sweeps = of(facts, "aarhus-1.pcap")["sweeps"]
    assert (sweeps["count"], sweeps["rows"], sweeps["columns"]) == (len(true["sweeps"]), true["rows"], true["columns"])
    assert all(b - a == pytest.approx(0.1, abs=1e-3) for a, b in pairwise(sweeps["t"]))
    seen = probe("ahead", next(generated.rglob("*.pcap")), next(generated.rglob("lidar/*.json")))
    assert seen == pytest.approx([sweep["lead_distance"] for sweep in true["sweeps"]], abs=0.05)


def test_poses_and_fixes_are_of_one_place(facts: dict[str, Any]) -> None:
    poses = of(facts, "daly-city-1")["poses"]
    assert poses["metres_from_fixes"] < 1
    assert poses["unit"] < 1e-6


def test_signals_meet_the_camera_to_within_a_sample(facts: dict[str, Any]) -> None:
    errors = of(facts, "daly-city-1")["errors"]
    assert errors["speed"]["max_seconds"] <= 0.011  # 50 Hz
    assert errors["latitude"]["max_seconds"] <= 0.051  # 10 Hz
    assert errors["speed"]["share"] > 0.99


def test_drives_are_written_alike_each_time(probe: Probe, generated: Path) -> None:
    """The same seed, the same bytes: what is made from them can be compared."""
    twice = probe("generate_again", generated)
    assert twice["different"] == []
    assert twice["seconds"] < 60


def test_faces_and_plates_are_found_where_they_were_drawn(probe: Probe) -> None:
    found = probe("protection", "found")
    assert found["faces"]["found"] == found["faces"]["drawn"] > 0
    assert found["plates"]["found"] >= 0.9 * found["plates"]["drawn"] > 0  # those of twenty pixels and more: smaller ones cannot be read
    assert found["boxes_elsewhere"] <= 0.2 * found["pictures"]


def test_what_is_blurred_cannot_be_read(probe: Probe) -> None:
    """The strokes of a plate are gone, and a second look finds nothing."""
    blurred = probe("protection", "blurred")
    assert blurred["strokes_after"] < 0.1 * blurred["strokes_before"]
    assert blurred["found_again"] == 0
    assert blurred["changed_elsewhere"] == 0
