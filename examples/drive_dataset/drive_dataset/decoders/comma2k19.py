"""Segments of comma2k19: NumPy arrays by channel, and the camera's video where it is there.

Guarantees: times are Unix seconds wherever the segment has a GNSS fix (the receiver gives both clocks; the spread of their difference is
in the facts), seconds since the device's start otherwise. Places are ECEF, as recorded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drive_dataset.errors import ClocksApart, Damaged
from drive_dataset.kinds import ARRAY, VIDEO, kind_of_file
from drive_dataset.records import SINCE_START, UNIX, Decoded, Frames, Poses, Recording, Signal

MOST_ARRAY_BYTES = 2 << 30
SANE_DISAGREEMENT_SECONDS = 60.0
HALF_LANE_METRES = 1.5

_CHANNELS: dict[str, tuple[tuple[str, str], ...]] = {
    "CAN/speed": (("speed", "m/s"),),
    "CAN/steering_angle": (("steering_angle", "deg"),),
    "CAN/wheel_speed": tuple((f"wheel_speed_{wheel}", "m/s") for wheel in ("front_left", "front_right", "rear_left", "rear_right")),
    "CAN/radar": tuple((f"radar.{name}", unit) for name, unit in (
        ("distance", "m"), ("lateral", "m"), ("relative_speed", "m/s"), ("relative_acceleration", "m/s²"), ("yaw_rate", "rad/s"),
        ("address", ""), ("new_track", ""))),
    # the device lies on the windscreen: its axes are x forward, y right, z down
    "IMU/accelerometer": (("imu.acceleration_forward", "m/s²"), ("imu.acceleration_right", "m/s²"), ("imu.acceleration_down", "m/s²")),
    "IMU/gyro": (("imu.rate_forward", "rad/s"), ("imu.rate_right", "rad/s"), ("imu.rate_down", "rad/s")),
    "IMU/magnetometer": tuple((f"imu.field_{axis}", "µT") for axis in ("forward", "right", "down")),
    "GNSS/live_gnss_ublox": (("latitude", "deg"), ("longitude", "deg"), ("gnss.speed", "m/s"), ("gnss.unix_ms", "ms"), ("altitude", "m"),
                             ("heading", "deg")),
    "GNSS/live_gnss_qcom": (("gnss_qcom.latitude", "deg"), ("gnss_qcom.longitude", "deg"), ("gnss_qcom.speed", "m/s"),
                            ("gnss_qcom.unix_ms", "ms"), ("gnss_qcom.altitude", "m"), ("gnss_qcom.heading", "deg")),
}  # fmt: skip


def decode(recording: Recording) -> Decoded:
    arrays = load_arrays(recording)
    signals = [signal for channel in _CHANNELS for signal in _channel(arrays, channel)]
    decoded = Decoded(recording.id, recording.kind, SINCE_START, signals)
    _add_yaw_rate(decoded)
    _add_lead(decoded)
    decoded.poses = _poses(arrays)
    decoded.frames = _frames(recording, arrays)
    decoded.facts = _facts(arrays)
    _to_unix(decoded)
    return decoded


def load_arrays(recording: Recording) -> dict[str, np.ndarray]:
    """Every array of the segment by its place below `processed_log` or `global_pose`."""
    arrays: dict[str, np.ndarray] = {}
    for path in recording.paths():
        if path.stat().st_size > MOST_ARRAY_BYTES or kind_of_file(path) != ARRAY:
            continue
        relative = path.as_posix()
        for root in ("processed_log/", "global_pose/"):
            if root in relative:
                arrays[relative.rsplit(root, 1)[1]] = load_array(path)
    return arrays


def load_array(path: Path) -> np.ndarray:
    """The array, or the rows of it that are there when the file was cut."""
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        with path.open("rb") as file:
            try:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, kind = read(file)
                row = kind.itemsize * int(np.prod(shape[1:], dtype=np.int64))
                data = file.read()
            except (ValueError, EOFError) as unreadable:
                raise Damaged(f"{path.parent.name}/{path.name}: {unreadable}") from error
        rows = len(data) // row if row and not kind.hasobject else 0
        if not rows:
            raise Damaged(f"{path.parent.name}/{path.name}: {error}") from error
        return np.frombuffer(data[: rows * row], kind).reshape(rows, *shape[1:])


def _channel(arrays: dict[str, np.ndarray], channel: str) -> list[Signal]:
    t, value = arrays.get(f"{channel}/t"), arrays.get(f"{channel}/value")
    if t is None or value is None or not len(t):
        return []
    count = min(len(t), len(value))  # one of the two was cut; `validate` says so
    t, columns = t[:count], value[:count].reshape(count, -1)
    return [Signal(name, unit, t, columns[:, at]) for at, (name, unit) in enumerate(_CHANNELS[channel]) if at < columns.shape[1]]


def _add_yaw_rate(decoded: Decoded) -> None:
    down = decoded.signal("imu.rate_down")
    if down is not None:  # turning left is positive about the axis that points up
        decoded.signals.append(Signal("yaw_rate", "rad/s", down.t, -down.value))


def _add_lead(decoded: Decoded) -> None:
    """The nearest radar track in the own lane, ten times a second."""
    distance, lateral = decoded.signal("radar.distance"), decoded.signal("radar.lateral")
    if distance is None or lateral is None:
        return
    ahead = np.abs(lateral.value) < HALF_LANE_METRES
    tenth = np.floor(distance.t[ahead] * 10).astype(np.int64)
    nearest: dict[int, float] = {}
    for slot, metres in zip(tenth.tolist(), distance.value[ahead].tolist(), strict=True):
        nearest[slot] = min(metres, nearest.get(slot, np.inf))
    if nearest:
        decoded.signals.append(Signal("lead_distance", "m", (np.array(list(nearest)) + 0.5) / 10, np.array(list(nearest.values()))))


def _poses(arrays: dict[str, np.ndarray]) -> Poses | None:
    try:
        parts = [arrays[f"frame_{name}"] for name in ("times", "positions", "orientations")]
    except KeyError:
        return None
    count = min(len(part) for part in parts)
    return Poses(parts[0][:count], parts[1][:count], parts[2][:count], "ecef")


def _frames(recording: Recording, arrays: dict[str, np.ndarray]) -> list[Frames]:
    times = arrays.get("frame_times")
    if times is None:
        return []
    videos = [path for path in recording.paths() if kind_of_file(path) == VIDEO]
    if not videos:
        return [Frames("camera", times, "")]
    from drive_dataset.decoders import video

    about = video.probe(videos[0])
    return [Frames("camera", times[: about.frames], recording.relative(videos[0]), about.width, about.height)]


def _facts(arrays: dict[str, np.ndarray]) -> dict[str, object]:
    facts: dict[str, object] = {f"count {name[:-2]}": len(array) for name, array in sorted(arrays.items()) if name.endswith("/t")}
    if "frame_times" in arrays:
        facts["count camera"] = len(arrays["frame_times"])
    return facts


def _to_unix(decoded: Decoded) -> None:
    """The receiver stamps each fix with satellite time: the median difference moves the device's clock to it."""
    stamp = decoded.signal("gnss.unix_ms")
    if stamp is None or not len(stamp.t):
        return
    difference = stamp.value / 1000 - stamp.t
    offset = float(np.median(difference))
    spread = float(np.percentile(np.abs(difference - offset), 95))
    if spread > SANE_DISAGREEMENT_SECONDS:
        raise ClocksApart(f"the device's clock and the satellites' part by {spread:,.0f} s within one segment")
    decoded.clock = UNIX
    decoded.facts["clock_offset_spread_seconds"] = round(spread, 6)
    for signal in decoded.signals:
        signal.t = signal.t + offset
    for part in [*decoded.frames, *([decoded.poses] if decoded.poses else [])]:
        part.t = part.t + offset


def identity(recording_paths: list[Path]) -> str | None:
    """The instant of the first camera pose on the device's own clock and on the satellites'."""
    for path in recording_paths:
        if path.as_posix().endswith("global_pose/frame_gps_times"):
            week, second = np.load(path, allow_pickle=False)[0]
            return f"comma2k19||{week:.0f}w{second:.6f}"
    return None
