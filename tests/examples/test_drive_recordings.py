"""What anyone can verify about the real recordings, found again by the decoders of the drive pipeline."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import Probe

DENMARK, BAY_AREA = ((54.5, 57.8), (8.0, 12.7)), ((37.2, 38.1), (-122.7, -121.7))
MOTORWAY = 60.0  # m/s: nobody drives faster

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def facts(probe: Probe, recordings: Path) -> dict[str, Any]:
    return probe("facts", recordings)


def of(facts: dict[str, Any], ending: str) -> dict[str, Any]:
    """The recording of that name. Another folder of recordings need not have it."""
    found = [value for name, value in facts["recordings"].items() if name.endswith(ending)]
    if not found:
        pytest.skip(f"this folder has no {ending}")
    return found[0]


def day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def inside(place: list[float], box: tuple[tuple[float, float], tuple[float, float]]) -> bool:
    return box[0][0] <= place[0] <= box[0][1] and box[1][0] <= place[1] <= box[1][1]


def test_every_recording_of_the_folder_is_read(facts: dict[str, Any]) -> None:
    assert facts["recordings"]
    assert not [value["error"] for value in facts["recordings"].values() if "error" in value]


def test_no_time_goes_backwards_and_no_car_is_faster_than_cars_are(facts: dict[str, Any]) -> None:
    for name, recording in facts["recordings"].items():
        assert recording["backwards"] == 0, name
        assert recording["end"] > recording["start"], name
        speed = recording["signals"].get("speed")
        assert speed is None or (speed["unit"] == "m/s" and speed["least"] >= -1 and speed["most"] <= MOTORWAY), name


def test_speed_and_places_agree_on_the_distance(facts: dict[str, Any]) -> None:
    """Odometer and satellites know nothing of each other: within 5 %."""
    for name, recording in facts["recordings"].items():
        if recording.get("metres_by_places", 0) > 200 and "metres_by_speed" in recording:
            assert recording["metres_by_speed"] == pytest.approx(recording["metres_by_places"], rel=0.05), name


def test_the_comma_segment_holds_what_its_makers_say(facts: dict[str, Any]) -> None:
    counts = of(facts, "segment-40")["facts"]
    assert counts["count CAN/raw_can"] == 135_468
    assert counts["count CAN/speed"] == counts["count CAN/steering_angle"] == counts["count CAN/wheel_speed"] == 4_974
    assert counts["count CAN/radar"] == 10_100
    assert counts["count IMU/accelerometer"] == counts["count IMU/gyro"] == 6_256
    assert (counts["count GNSS/live_gnss_ublox"], counts["count GNSS/live_gnss_qcom"]) == (579, 30)
    assert counts["count camera"] == 1_200


def test_the_comma_segment_is_a_minute_near_san_francisco(facts: dict[str, Any]) -> None:
    segment = of(facts, "segment-40")
    assert day(segment["start"]) == "2018-08-02"
    assert segment["end"] - segment["start"] == pytest.approx(60, abs=0.1)
    assert inside(segment["place"], BAY_AREA)
    assert segment["frames"][0]["interval"] == pytest.approx(0.05, abs=0.001)


def test_the_camera_poses_of_the_comma_segment_fit_its_odometry_and_fixes(facts: dict[str, Any]) -> None:
    poses = of(facts, "segment-40")["poses"]
    assert poses["count"] == 1_200
    assert poses["unit"] < 1e-6
    assert poses["metres"] == pytest.approx(poses["metres_by_speed"], rel=0.02)
    assert poses["metres_from_fixes"] < 10


@pytest.mark.parametrize(
    ("name", "frames"), [("00000001-60FEB68B.MF4", 45_096), ("00000002-60FEB8E3.MF4", 73_812), ("00000003-60FEBB3B.MF4", 73_799)]
)
def test_every_can_frame_of_a_log_is_read(facts: dict[str, Any], name: str, frames: int) -> None:
    log = of(facts, name)
    assert log["facts"]["can_frames"] == frames
    assert log["facts"]["mdf_version"] == "4.11"
    assert day(log["start"]) == "2021-07-26"
    assert inside(log["place"], DENMARK)


def test_the_three_logs_are_one_drive(facts: dict[str, Any]) -> None:
    logs = [of(facts, name) for name in ("1-60FEB68B.MF4", "2-60FEB8E3.MF4", "3-60FEBB3B.MF4")]
    for before, after in pairwise(logs):
        assert 0 <= after["start"] - before["end"] < 1
        assert 0 <= after["trip"][0] - before["trip"][1] < 30


@pytest.mark.parametrize("name", ["2-60FEB8E3.MF4", "3-60FEBB3B.MF4"])
def test_the_receiver_counts_the_metres_that_the_decoded_speed_adds_up_to(facts: dict[str, Any], name: str) -> None:
    log = of(facts, name)
    assert log["metres_by_speed"] == pytest.approx(log["trip"][1] - log["trip"][0], rel=0.02)


@pytest.mark.parametrize("name", ["1-60FEB68B.MF4", "2-60FEB8E3.MF4", "3-60FEBB3B.MF4"])
def test_the_gyroscope_turns_with_the_heading_however_the_logger_was_mounted(facts: dict[str, Any], name: str) -> None:
    assert of(facts, name)["turning_correlation"] > 0.9


@pytest.mark.parametrize(("name", "count", "size"), [("solidWhiteRight.mp4", 221, (960, 540)), ("test_video.mp4", 38, (1280, 720))])
def test_every_frame_of_a_video_is_found(facts: dict[str, Any], name: str, count: int, size: tuple[int, int]) -> None:
    video = of(facts, name)["frames"][0]
    assert (video["count"], video["width"], video["height"]) == (count, *size)
    assert video["interval"] == pytest.approx(1 / 25, abs=1e-3)


def test_the_lidar_capture_is_three_whole_sweeps_of_128_by_1024(facts: dict[str, Any]) -> None:
    sweeps = of(facts, "lb_n3.pcap")["sweeps"]
    assert (sweeps["count"], sweeps["rows"], sweeps["columns"]) == (3, 128, 1024)
    assert sweeps["valid"] == [1024, 1024, 1024]
    assert sweeps["t"][2] - sweeps["t"][0] == pytest.approx(0.2, abs=0.002)
    assert all(0 < metres < 300 for metres in sweeps["mean_range"])
    assert all(0 < count <= 128 * 1024 for count in sweeps["returns"])


def test_there_is_a_pose_for_every_line(facts: dict[str, Any], recordings: Path) -> None:
    poses = of(facts, "poses_kitti.txt")["poses"]
    file = next(recordings.rglob("*poses_kitti.txt"))
    assert poses["count"] == len(file.read_text().split("\n")) - 1 == 1_113
    assert poses["unit"] < 1e-6


def test_frames_decode_at_once_as_cantools_decodes_them_one_by_one(probe: Probe, recordings: Path) -> None:
    compared = probe("can_twin", recordings)
    if not compared["frames"]:
        pytest.skip("this folder has no CAN log")
    assert compared["frames"] > 1_000
    assert compared["largest_difference"] < 1e-6
