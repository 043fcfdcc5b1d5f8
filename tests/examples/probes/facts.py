"""Everything that a folder of recordings says, decoded: `facts.py FOLDER [GLOB]`."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from drive_dataset import events, synchronise
from drive_dataset.decode import decode
from drive_dataset.errors import DriveError
from drive_dataset.geometry import distances, east_north, geodetic
from drive_dataset.ingest import ingest


def main() -> None:
    register = ingest(Path(sys.argv[1]))
    said = {"refused": register.refused, "duplicates": register.duplicates, "recordings": {}}
    for recording in register.recordings:
        try:
            said["recordings"][recording.name] = about(recording)
        except DriveError as error:
            said["recordings"][recording.name] = {"kind": recording.kind, "error": error.document()}
    print(json.dumps(said))


def about(recording) -> dict:
    decoded = decode(recording)
    start, end = decoded.span()
    aligned = synchronise.synchronise(decoded)
    found = {"kind": recording.kind, "clock": decoded.clock, "start": start, "end": end, "facts": decoded.facts, "errors": aligned.errors}
    found["findings"] = [f"{finding.code} {finding.where}" for finding in decoded.findings]
    found["backwards"] = sum(int((np.diff(signal.t) < 0).sum()) for signal in decoded.signals)
    found["signals"] = {
        s.name: {"unit": s.unit, "count": len(s.t), "least": s.value.min(), "most": s.value.max()} for s in decoded.signals
    }  # fmt: skip
    found["frames"] = [
        {"count": len(f.t), "width": f.width, "height": f.height, "interval": float(np.median(np.diff(f.t)))} for f in decoded.frames
    ]  # fmt: skip
    found["events"] = [
        {"reason": e.reason, "start": e.start - start, "end": e.end - start, "evidence": e.evidence} for e in events.find(aligned)
    ]  # fmt: skip
    speed, latitude, longitude = decoded.signal("speed"), decoded.signal("latitude"), decoded.signal("longitude")
    if speed is not None:
        found["metres_by_speed"] = float(np.trapezoid(speed.value, speed.t))
        found["speed_10_hz"] = np.interp(np.arange(start, end, 0.1), speed.t, speed.value).round(4).tolist()
    if latitude is not None and longitude is not None:
        found["place"] = [float(np.median(latitude.value)), float(np.median(longitude.value))]
        places = east_north(latitude.value, longitude.value)
        found["metres_by_places"] = float(distances(places[:: max(1, round(1 / np.median(np.diff(latitude.t))))]).sum())
    found |= poses_of(decoded) | turning_of(decoded)
    if decoded.sweeps is not None:
        s = decoded.sweeps
        found["sweeps"] = {"count": len(s.t), "rows": s.rows, "columns": s.columns, "valid": s.valid_columns.tolist(), "t": s.t.tolist(),
                           "returns": s.returns.tolist(), "mean_range": s.mean_range.tolist()}  # fmt: skip
    trip = decoded.signal("gnss_odo.DistanceTrip")
    if trip is not None:
        found["trip"] = [float(trip.value[0]), float(trip.value[-1])]
    return found


def poses_of(decoded) -> dict:
    poses = decoded.poses
    if poses is None:
        return {}
    numbers = {"count": len(poses.t), "metres": float(distances(poses.position).sum()), "frame": poses.frame}
    numbers["interval"] = float(np.median(np.diff(poses.t)))
    numbers["unit"] = float(np.abs(np.linalg.norm(poses.orientation, axis=1) - 1).max())
    found = {"poses": numbers}
    speed, latitude, longitude = (decoded.signal(name) for name in ("speed", "latitude", "longitude"))
    if speed is not None:
        here = (speed.t >= poses.t[0]) & (speed.t <= poses.t[-1])
        found["poses"]["metres_by_speed"] = float(np.trapezoid(speed.value[here], speed.t[here]))
    if poses.frame == "ecef":
        places = geodetic(poses.position)
        found["poses"]["place"] = [float(np.median(axis)) for axis in places]
        if latitude is not None and longitude is not None:
            there = [np.interp(poses.t, axis.t, axis.value) for axis in (latitude, longitude)]
            apart = np.hypot((places[0] - there[0]) * 111_195, (places[1] - there[1]) * 111_195 * np.cos(np.radians(places[0])))
            found["poses"]["metres_from_fixes"] = float(np.median(apart))
    return found


def turning_of(decoded) -> dict:
    """How the gyroscope's turning and that of the satellites' heading go together."""
    yaw, heading = decoded.signal("yaw_rate"), decoded.signal("heading")
    if yaw is None or heading is None or len(heading.t) < 100:
        return {}
    turned = -np.diff(np.unwrap(np.radians(heading.value)))
    way = np.concatenate([[0.0], np.cumsum(np.diff(yaw.t) * (yaw.value[1:] + yaw.value[:-1]) / 2)])
    felt = np.diff(np.interp(heading.t, yaw.t, way))
    whole = np.diff(heading.t) < 2  # over a gap nobody knows how often it turned
    return {"turning_correlation": float(np.corrcoef(turned[whole], felt[whole])[0, 1])}


if __name__ == "__main__":
    main()
