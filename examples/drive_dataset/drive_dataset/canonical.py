"""Names and units that every later stage relies on, whatever a recorder called them.

Guarantees: speed is m/s, acceleration m/s² and angular rates rad/s in the sensor's own axes, `yaw_rate` rad/s about the axis that points
up (left is positive), steering deg, places deg (WGS 84). A signal that is none of these keeps its own name and unit.
"""

from __future__ import annotations

import re

import numpy as np

SPEED, STEERING, YAW_RATE = "speed", "steering_angle", "yaw_rate"
ACCELERATION = ("acceleration_x", "acceleration_y", "acceleration_z")
RATES = ("angular_rate_x", "angular_rate_y", "angular_rate_z")
LATITUDE, LONGITUDE, ALTITUDE, HEADING = "latitude", "longitude", "altitude", "heading"
LEAD_DISTANCE = "lead_distance"

UNITS = {
    SPEED: "m/s", STEERING: "deg", YAW_RATE: "rad/s", **dict.fromkeys(ACCELERATION, "m/s²"),
    **dict.fromkeys(RATES, "rad/s"), LATITUDE: "deg", LONGITUDE: "deg",
    ALTITUDE: "m", HEADING: "deg", LEAD_DISTANCE: "m",
}  # fmt: skip
RANGES = {
    SPEED: (-20.0, 120.0), STEERING: (-1200.0, 1200.0), YAW_RATE: (-8.0, 8.0), **dict.fromkeys(ACCELERATION, (-160.0, 160.0)),
    LATITUDE: (-90.0, 90.0), LONGITUDE: (-180.0, 180.0), ALTITUDE: (-500.0, 9000.0), HEADING: (0.0, 360.0), LEAD_DISTANCE: (0.0, 400.0),
}  # fmt: skip
"""What can be true of a car. Beyond it a sample is wrong."""

_NAMES: tuple[tuple[str, str], ...] = (
    (r"(gnss|gps|vehicle|car|can|(wheel|navigation)_?based_?vehicle)?_?speed", SPEED),
    (r"steer(ing)?_?(wheel)?_?angle", STEERING),
    (r"yaw_?rate", YAW_RATE),
    (r"(imu_?)?(angular_?(rate|velocity)|gyro)_?x", RATES[0]),
    (r"(imu_?)?(angular_?(rate|velocity)|gyro)_?y", RATES[1]),
    (r"(imu_?)?(angular_?(rate|velocity)|gyro)_?z", RATES[2]),
    (r"(imu_?)?accel(eration)?_?x|long(itudinal)?_?accel(eration)?", ACCELERATION[0]),
    (r"(imu_?)?accel(eration)?_?y|lat(eral)?_?accel(eration)?", ACCELERATION[1]),
    (r"(imu_?)?accel(eration)?_?z|vert(ical)?_?accel(eration)?", ACCELERATION[2]),
    (r"(gnss_?|gps_?)?lat(itude)?", LATITUDE),
    (r"(gnss_?|gps_?)?(lon|lng|long)(itude)?", LONGITUDE),
    (r"(gnss_?|gps_?)?alt(itude)?", ALTITUDE),
    (r"(gnss_?|gps_?)?heading|course", HEADING),
    (r"lead_?(vehicle)?_?distance|front_?distance", LEAD_DISTANCE),
)

_FACTORS: dict[tuple[str, str], float] = {
    ("km/h", "m/s"): 1 / 3.6, ("kph", "m/s"): 1 / 3.6, ("kmh", "m/s"): 1 / 3.6, ("mph", "m/s"): 0.44704, ("kn", "m/s"): 1852 / 3600,
    ("knots", "m/s"): 1852 / 3600, ("g", "m/s²"): 9.80665, ("m/s^2", "m/s²"): 1.0, ("m/s2", "m/s²"): 1.0, ("mg", "m/s²"): 9.80665e-3,
    ("deg/s", "rad/s"): np.pi / 180, ("°/s", "rad/s"): np.pi / 180, ("rad", "deg"): 180 / np.pi, ("°", "deg"): 1.0, ("degree", "deg"): 1.0,
    ("degrees", "deg"): 1.0, ("ft", "m"): 0.3048, ("cm", "m"): 0.01, ("km", "m"): 1000.0,
}  # fmt: skip


def canonical(name: str, unit: str) -> tuple[str, str, float] | None:
    """Our name and unit for a recorder's, and what to multiply by; None where the unit says that it is something else."""
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    word = re.sub(r"^s\d+_?pid_?[0-9a-f]{2}_", "", word)  # of OBD-II: the service and what it was asked for
    for pattern, ours in _NAMES:
        if re.fullmatch(pattern, word):
            wanted = UNITS[ours]
            if unit in (wanted, ""):
                return ours, wanted, 1.0
            factor = _FACTORS.get((unit.lower(), wanted))
            return None if factor is None else (ours, wanted, factor)
    return None
