"""The drive as a CAN logger writes it: ASAM MDF 4.11 with a DBC beside it."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime
from pathlib import Path

import cantools
import numpy as np
from asammdf import MDF, Signal, Source
from asammdf.blocks import v4_constants

from drive_dataset.generate.sensors import Sensed
from drive_dataset.generate.vehicle import Plan

DBC = """VERSION ""

NS_ :

BS_:

BU_: CAR LOGGER

BO_ 288 motion: 8 CAR
 SG_ VehicleSpeed : 7|16@0+ (0.01,0) [0|300] "km/h" LOGGER
 SG_ SteeringWheelAngle : 16|16@1- (0.1,0) [-1080|1080] "deg" LOGGER
 SG_ Counter : 32|8@1+ (1,0) [0|255] "" LOGGER

BO_ 304 imu: 8 CAR
 SG_ AccelerationX : 0|16@1- (0.001,0) [-30|30] "m/s^2" LOGGER
 SG_ AccelerationY : 16|16@1- (0.001,0) [-30|30] "m/s^2" LOGGER
 SG_ AccelerationZ : 32|16@1- (0.001,0) [-30|30] "m/s^2" LOGGER
 SG_ YawRate : 48|16@1- (0.01,0) [-300|300] "deg/s" LOGGER

BO_ 2147484672 place: 8 CAR
 SG_ Latitude : 0|32@1- (1e-07,0) [-90|90] "deg" LOGGER
 SG_ Longitude : 32|32@1- (1e-07,0) [-180|180] "deg" LOGGER

BO_ 1040 ahead: 8 CAR
 SG_ LeadDistance : 0|16@1+ (0.01,0) [0|400] "m" LOGGER
 SG_ Heading : 16|16@1+ (0.01,0) [0|360] "deg" LOGGER
 SG_ AheadValid : 32|1@1+ (1,0) [0|1] "" LOGGER
"""
EXTENDED = 1 << 31

_FRAME = np.dtype([
    ("CAN_DataFrame.BusChannel", "u1"), ("CAN_DataFrame.ID", "<u4"), ("CAN_DataFrame.IDE", "u1"), ("CAN_DataFrame.DLC", "u1"),
    ("CAN_DataFrame.DataLength", "u1"), ("CAN_DataFrame.DataBytes", "u1", (8,)), ("CAN_DataFrame.Dir", "u1"),
])  # fmt: skip


def write(plan: Plan, sensed: Sensed, folder: Path) -> int:
    """Returns how many frames were written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "car.dbc").write_text(DBC)
    t, identifiers, payloads = frames(sensed)
    rows = np.zeros(len(t), _FRAME)
    rows["CAN_DataFrame.BusChannel"] = 1
    rows["CAN_DataFrame.ID"] = identifiers & 0x1FFFFFFF
    rows["CAN_DataFrame.IDE"] = identifiers >> 31
    rows["CAN_DataFrame.DLC"] = rows["CAN_DataFrame.DataLength"] = 8
    rows["CAN_DataFrame.DataBytes"] = payloads
    source = Source("CAN1", "CAN1", "", v4_constants.SOURCE_BUS, v4_constants.BUS_TYPE_CAN)
    with MDF(version="4.11") as mdf:
        mdf.header.start_time = datetime.fromtimestamp(plan.start, UTC)
        mdf.header.comment = (
            f'<HDcomment><TX/><common_properties><e name="serial number">SIM{plan.seed:05d}</e></common_properties></HDcomment>'
        )
        mdf.append([Signal(rows, t, name="CAN_DataFrame", source=source)], comment="")
        saved = mdf.save(folder / f"{plan.name}.mf4", overwrite=True, compression=1)
    _fix_history(Path(saved), int(plan.start * 1e9))
    return len(t)


def _fix_history(path: Path, nanoseconds: int) -> None:
    """The library notes when a file was saved (ASAM MDF 4.1, 6.5: the time comes after the two links): here, when it was driven."""
    data = bytearray(path.read_bytes())
    for block in re.finditer(rb"##FH\0\0\0\0\x38\0\0\0", bytes(data)):
        struct.pack_into("<Q", data, block.start() + 40, nanoseconds)
    path.write_bytes(data)


def frames(sensed: Sensed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, identifiers and payloads in order of time, encoded by the DBC itself."""
    database = cantools.database.load_string(DBC, "dbc")
    rows: list[tuple[float, int, bytes]] = []

    def add(t: float, name: str, **values: float) -> None:
        message = database.get_message_by_name(name)
        rows.append((t, message.frame_id | (EXTENDED if message.is_extended_frame else 0), message.encode(values)))

    for i, t in enumerate(sensed.fast_t.tolist()):
        add(t, "motion", VehicleSpeed=sensed.speed[i] * 3.6, SteeringWheelAngle=sensed.steering[i], Counter=i % 256)
        x, y, z = sensed.acceleration[i]
        add(t + 0.001, "imu", AccelerationX=x, AccelerationY=y, AccelerationZ=z, YawRate=np.degrees(sensed.rates[i, 2]))
    for i, t in enumerate(sensed.fix_t.tolist()):
        add(t + 0.002, "place", Latitude=sensed.latitude[i], Longitude=sensed.longitude[i])
        add(t + 0.003, "ahead", LeadDistance=sensed.lead_distance[i], Heading=sensed.heading[i], AheadValid=1)
    rows.sort(key=lambda row: row[:2])
    payloads = np.frombuffer(b"".join(row[2] for row in rows), np.uint8).reshape(-1, 8)
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), payloads
