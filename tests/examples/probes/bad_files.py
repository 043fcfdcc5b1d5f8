"""Recordings that went wrong, made from good ones: `bad_files.py GENERATED FOLDER`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import av
import numpy as np
from mcap.writer import Writer

YEARS = 5 * 365.25 * 86400


def main() -> None:
    generated, folder = Path(sys.argv[1]), Path(sys.argv[2])
    log = generated / "denmark" / "can" / "aarhus-1.mf4"
    data = log.read_bytes()
    (folder / "half a head.mf4").write_bytes(data[:90])

    twins = folder / "twins"
    twins.mkdir()
    other = generated / "california" / "segments" / "daly-city-1"
    from drive_dataset.generate import can
    from drive_dataset.generate.sensors import sense
    from drive_dataset.generate.vehicle import Plan, drive

    plan = Plan("first", 77, 1_717_600_000.0, 56.0, 10.0, 0.0, seconds=45)
    sensed = sense(plan, drive(plan))
    can.write(plan, sensed, twins)
    lonely = Plan("log", 78, 1_717_700_000.0, 56.0, 10.0, 0.0)
    can.write(lonely, sensed, folder / "no dbc")
    (folder / "no dbc" / "car.dbc").unlink()
    sensed.speed = sensed.speed * 0.9
    can.write(Plan("second", 77, plan.start, 56.0, 10.0, 0.0), sensed, twins)

    apart = folder / "clocks apart"
    shutil.copytree(other, apart)
    t = apart / "processed_log" / "CAN" / "speed" / "t"
    save(t, np.load(t) + YEARS)

    without_key_frames(other / "video.mp4", folder / "no key frames.mp4")
    bomb(folder / "bomb.mcap")
    cut(generated, folder / "cut")
    print(json.dumps("done"))


def save(path: Path, value: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, value)


def without_key_frames(source: Path, target: Path) -> None:
    """Every packet but those that a decoder could start from."""
    with av.open(str(source)) as good, av.open(str(target), "w") as bad:
        stream = bad.add_stream_from_template(good.streams.video[0])
        for packet in good.demux(good.streams.video[0]):
            if packet.dts is not None and not packet.is_keyframe:
                packet.stream = stream
                bad.mux(packet)


def bomb(path: Path) -> None:
    """An MCAP file whose chunk says that it unpacks to far more than it is."""
    buffer = io.BytesIO()
    writer = Writer(buffer)
    writer.start()
    schema = writer.register_schema("x", "ros2msg", b"uint8[] data")
    channel = writer.register_channel("/x", "cdr", schema)
    for _ in range(16):
        writer.add_message(channel, 0, bytes(16 << 20), 0)
    writer.finish()
    path.write_bytes(buffer.getvalue())


def cut(generated: Path, folder: Path) -> None:
    for source, name in (("california/ros/palo-alto-1.mcap", "drive.mcap"), ("denmark/lidar/aarhus-1.pcap", "drive.pcap")):
        data = (generated / source).read_bytes()
        (folder / name).write_bytes(data[: len(data) * 2 // 3 + 7])
    shutil.copy(generated / "denmark" / "lidar" / "aarhus-1.json", folder)
    data = (generated / "denmark" / "camera" / "aarhus-1.mp4").read_bytes()
    (folder / "drive.mp4").write_bytes(data[: len(data) * 2 // 3])
    shutil.copytree(generated / "california" / "segments" / "daly-city-1", folder / "segment")
    speed = folder / "segment" / "processed_log" / "CAN" / "speed" / "value"
    speed.write_bytes(speed.read_bytes()[:9_000])
    gps = folder / "segment" / "global_pose" / "frame_gps_times"
    save(gps, np.load(gps) + np.array([0, 3600]))  # another drive than the one that is whole


if __name__ == "__main__":
    main()
