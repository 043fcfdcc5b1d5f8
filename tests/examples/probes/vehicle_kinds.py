"""Logs of a truck (SAE J1939) and of a car that was asked by OBD-II, decoded: `vehicle_kinds.py FOLDER`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
from asammdf import MDF, Signal, Source
from asammdf.blocks import v4_constants
from drive_dataset.decode import decode
from drive_dataset.generate.can import _FRAME, EXTENDED
from drive_dataset.ingest import ingest

HEAD = 'VERSION ""\n\nNS_ :\n\nBS_:\n\nBU_:\n\n'
TRUCK = (
    HEAD
    + """BO_ 2566844926 CCVS1: 8 Vector__XXX
 SG_ WheelBasedVehicleSpeed : 8|16@1+ (0.00390625,0) [0|250.996] "km/h" Vector__XXX

BO_ 2364540158 EEC1: 8 Vector__XXX
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" Vector__XXX

BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "J1939PG";
BA_ "VFrameFormat" BO_ 2566844926 3;
BA_ "VFrameFormat" BO_ 2364540158 3;
"""
)
CAR = (
    HEAD
    + """BO_ 2024 OBD2: 8 Vector__XXX
 SG_ S1_PID_0D_VehicleSpeed m13 : 31|8@0+ (1,0) [0|255] "km/h" Vector__XXX
 SG_ S1_PID_0C_EngineRPM m12 : 31|16@0+ (0.25,0) [0|16383.75] "rpm" Vector__XXX
 SG_ S1 m1M : 23|8@0+ (1,0) [0|255] "" Vector__XXX
 SG_ service M : 11|4@0+ (1,0) [0|15] "" Vector__XXX

SG_MUL_VAL_ 2024 S1_PID_0D_VehicleSpeed S1 13-13;
SG_MUL_VAL_ 2024 S1_PID_0C_EngineRPM S1 12-12;
SG_MUL_VAL_ 2024 S1 service 1-1;
"""
)


def write(folder: Path, description: str, frames: list[tuple[float, int, bytes]]) -> None:
    folder.mkdir(parents=True)
    (folder / "vehicle.dbc").write_text(description)
    rows: Any = np.zeros(len(frames), _FRAME)
    rows["CAN_DataFrame.BusChannel"] = 1
    rows["CAN_DataFrame.ID"] = [identifier & 0x1FFFFFFF for _, identifier, _ in frames]
    rows["CAN_DataFrame.IDE"] = [identifier >> 31 for _, identifier, _ in frames]
    rows["CAN_DataFrame.DLC"] = rows["CAN_DataFrame.DataLength"] = 8
    rows["CAN_DataFrame.DataBytes"] = [list(payload) for _, _, payload in frames]
    source = Source("CAN1", "CAN1", "", v4_constants.SOURCE_BUS, v4_constants.BUS_TYPE_CAN)
    with MDF(version="4.11") as mdf:
        mdf.append([Signal(rows, np.array([t for t, _, _ in frames]), name="CAN_DataFrame", source=source)], comment="")
        mdf.save(folder / "log.mf4", overwrite=True, compression=2)


def main() -> None:
    root = Path(sys.argv[1])
    truck: list[tuple[float, int, bytes]] = []
    for number in range(600):  # two control units tell the speed; every tenth time one does not know it
        speed = 0xFFFF if number % 10 == 9 else round((40 + number / 20) * 256)
        sender, urgency = (0x00, 0x18) if number % 2 else (0x17, 0x14)
        truck.append((number / 10, EXTENDED | urgency << 24 | 0xFEF100 | sender, struct.pack("<BHBHH", 0xFF, speed, 0xFF, 0xFFFF, 0xFFFF)))
        truck.append((number / 10 + 0.01, EXTENDED | 0x0CF00400, struct.pack("<BBBHBBB", 0xFF, 0xFF, 0xFF, 1200 * 8, 0xFF, 0xFF, 0xFF)))
    write(root / "truck", TRUCK, truck)
    car = []
    for number in range(60):  # asked in turn, once a second
        car.append((number + 0.0, 0x7DF, bytes([2, 1, 0x0D, 0, 0, 0, 0, 0])))
        car.append((number + 0.02, 0x7E8, bytes([3, 0x41, 0x0D, 30 + number // 2, 0xAA, 0xAA, 0xAA, 0xAA])))
        car.append((number + 0.5, 0x7DF, bytes([2, 1, 0x0C, 0, 0, 0, 0, 0])))
        car.append((number + 0.52, 0x7E8, bytes([4, 0x41, 0x0C, 0x1A, 0xF8, 0xAA, 0xAA, 0xAA])))
    write(root / "car", CAR, car)
    told = {}
    for recording in ingest(root).recordings:
        decoded = decode(recording)
        signals = {}
        for signal in decoded.signals:
            first, most = float(signal.value[0]), float(signal.value.max())
            signals[signal.name] = {"count": len(signal.t), "first": first, "unit": signal.unit, "most": most}
        told[recording.name.split("/")[0]] = {"signals": signals, "facts": decoded.facts}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
