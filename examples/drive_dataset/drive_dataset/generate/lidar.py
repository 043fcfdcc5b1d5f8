"""A LiDAR's capture of a few sweeps: the ground, the car ahead and walls, as ranges, in the packets that the sensor sends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ouster.sdk import core, pcap

from drive_dataset.generate.vehicle import HERTZ, Motion, Plan

MOUNTED_METRES, WALL_METRES, CAR = 1.8, 12.0, (1.9, 4.5, 1.5)  # width, length, height of the car ahead
SERIAL = 122_000_000


def write(plan: Plan, motion: Motion, folder: Path, sweeps: int = 5) -> dict[str, Any]:
    """`<name>.pcap` and the sensor's metadata. Returns the true distance ahead in each sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    info = core.SensorInfo.from_default(core.LidarMode._512x10)
    info.sn = SERIAL + plan.seed
    info.format.udp_profile_lidar = info.config.udp_profile_lidar = core.UDPProfileLidar.RNG19_RFL8_SIG16_NIR16
    info.config.udp_port_lidar, info.config.udp_port_imu = 7502, 7503
    (folder / f"{plan.name}.json").write_text(info.to_json_string())
    lines = _lines(info)
    packets: list[Any] = []
    truth = []
    for number in range(sweeps):
        t = plan.braking_at + number / 10
        ahead = float(motion.lead_distance[round(t * HERTZ)])
        packets += _packets(info, number, plan.start + t, cast(lines, ahead))
        truth.append({"t": t, "lead_distance": ahead})
    pcap.record(packets, str(folder / f"{plan.name}.pcap"))
    return {"sweeps": truth, "rows": info.h, "columns": info.w}


def _lines(info: Any) -> np.ndarray:
    """Unit vectors of all beams in the sensor's frame, x forward: what lies between two ranges of the maker's own table."""
    table = core.XYZLut(info)
    near, far = (table(np.full((info.h, info.w), millimetres, np.uint32)) for millimetres in (10_000, 11_000))
    return far - near


def cast(lines: np.ndarray, ahead: float) -> np.ndarray:
    """Metres to the first thing on each line; 0 where there is none within reach."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(lines[..., 2] < 0, -MOUNTED_METRES / lines[..., 2], np.inf)
        walls = np.where(lines[..., 1] != 0, WALL_METRES / np.abs(lines[..., 1]), np.inf)
        walls = np.where(np.abs(walls * lines[..., 2]) < 6, walls, np.inf)
        front = np.where(lines[..., 0] > 0, ahead / lines[..., 0], np.inf)
        y, z = front * lines[..., 1], front * lines[..., 2] + MOUNTED_METRES
        front = np.where((np.abs(y) < CAR[0] / 2) & (z > 0.2) & (z < CAR[2]), front, np.inf)
    metres = np.minimum(np.minimum(ground, walls), front)
    return np.where(metres < 150, metres, 0.0)


def _packets(info: Any, number: int, start: float, metres: np.ndarray) -> list[Any]:
    scan = core.LidarFrame(info)
    scan.frame_id = number
    millimetres = np.round(metres * 1000).astype(np.uint32)
    scan.field("RANGE")[:] = millimetres
    scan.field("REFLECTIVITY")[:] = np.where(millimetres, 40, 0)
    columns = np.arange(info.w)
    scan.status[:] = 1
    scan.measurement_id[:] = columns
    scan.timestamp[:] = np.round((start + columns / info.w / 10) * 1e9).astype(np.uint64)
    per_packet = info.format.columns_per_packet
    scan.packet_timestamp[:] = scan.timestamp[per_packet - 1 :: per_packet]
    made = core.frame_to_packets(scan, core.PacketFormat(info), info.init_id, info.sn)
    for packet, stamp in zip(made, scan.packet_timestamp, strict=False):
        packet.host_timestamp = int(stamp)
    return made
