"""The drive as a comma2k19 segment: NumPy arrays by channel on the device's own clock, and the camera's video."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drive_dataset.decoders.poses import quaternions
from drive_dataset.generate.sensors import Sensed
from drive_dataset.generate.vehicle import HERTZ, Motion, Plan
from drive_dataset.geometry import ecef

CAMERA_HERTZ = 20.0
GPS_EPOCH, LEAP_SECONDS, WEEK_SECONDS = 315_964_800, 18, 604_800


def write(plan: Plan, motion: Motion, sensed: Sensed, folder: Path) -> None:
    booted = plan.start - 1000.0  # the device had been on for a while

    def put(channel: str, t: np.ndarray, value: np.ndarray) -> None:
        path = folder / "processed_log" / channel
        path.mkdir(parents=True, exist_ok=True)
        _save(path / "t", t + plan.start - booted)
        _save(path / "value", value)

    put("CAN/speed", sensed.fast_t, sensed.speed[:, None])
    put("CAN/steering_angle", sensed.fast_t, sensed.steering)
    put("CAN/wheel_speed", sensed.fast_t, np.repeat(sensed.speed[:, None], 4, axis=1))
    ahead = sensed.lead_distance
    nothing, none = np.full(len(ahead), np.nan), np.zeros(len(ahead))
    put("CAN/radar", sensed.fix_t, np.stack([ahead, none, np.gradient(ahead, 0.1), nothing, nothing, none + 528, none], axis=1))
    # the windscreen's axes: forward, right, down
    put("IMU/accelerometer", sensed.fast_t, sensed.acceleration * [1, -1, -1])
    put("IMU/gyro", sensed.fast_t, sensed.rates * [1, -1, -1])
    unix = np.round((sensed.fix_t + plan.start) * 1000)
    fix = [sensed.latitude, sensed.longitude, sensed.fix_speed, unix, sensed.altitude, sensed.heading]
    put("GNSS/live_gnss_ublox", sensed.fix_t, np.stack(fix, axis=1))
    _poses(plan, motion, sensed, folder / "global_pose", booted)


def _poses(plan: Plan, motion: Motion, sensed: Sensed, folder: Path, booted: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = slice(None, None, round(HERTZ / CAMERA_HERTZ))
    t = motion.t[rows]
    latitude, longitude = (np.interp(t, sensed.fix_t, column) for column in (sensed.latitude, sensed.longitude))
    position = ecef(latitude, longitude, np.interp(t, sensed.fix_t, sensed.altitude))
    velocity = np.gradient(position, 1 / CAMERA_HERTZ, axis=0)
    gps = t + plan.start - GPS_EPOCH + LEAP_SECONDS
    _save(folder / "frame_times", t + plan.start - booted)
    _save(folder / "frame_gps_times", np.stack([np.floor(gps / WEEK_SECONDS), gps % WEEK_SECONDS], axis=1))
    _save(folder / "frame_positions", position)
    _save(folder / "frame_velocities", velocity)
    _save(folder / "frame_orientations", quaternions(_orientations(motion.yaw[rows], latitude, longitude)))


def _orientations(yaw: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Rotations from the car (forward, right, down) to ECEF."""
    phi, lam, zero = np.radians(latitude), np.radians(longitude), np.zeros(len(yaw))
    east = np.stack([-np.sin(lam), np.cos(lam), zero], axis=1)
    up = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)
    north = np.cross(up, east)
    forward = np.cos(yaw)[:, None] * east + np.sin(yaw)[:, None] * north
    return np.stack([forward, np.cross(forward, up), -up], axis=2)


def _save(path: Path, value: np.ndarray) -> None:
    with path.open("wb") as file:  # numpy would add a suffix, which this data set does not have
        np.save(file, np.ascontiguousarray(value, np.float64), allow_pickle=False)
