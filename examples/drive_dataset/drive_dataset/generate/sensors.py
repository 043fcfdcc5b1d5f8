"""What each sensor of the car would have said: its rate, its noise, its resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive_dataset.generate.vehicle import GRAVITY, HERTZ, Motion, Plan

EARTH_METRES_PER_DEGREE = 111_319.49


@dataclass
class Sensed:
    """Seconds from the start of the drive, and values; each at its own rate."""

    fast_t: np.ndarray  # 50 Hz: speed, steering, acceleration, turning
    speed: np.ndarray
    steering: np.ndarray
    acceleration: np.ndarray  # (n, 3) x forward, y left, z up
    rates: np.ndarray  # (n, 3)
    fix_t: np.ndarray  # 10 Hz: places
    latitude: np.ndarray
    longitude: np.ndarray
    altitude: np.ndarray
    heading: np.ndarray
    lead_distance: np.ndarray
    fix_speed: np.ndarray


def sense(plan: Plan, motion: Motion) -> Sensed:
    random = np.random.default_rng(plan.seed + 1)
    fast, fix = slice(None, None, round(HERTZ / 50)), slice(None, None, round(HERTZ / 10))
    fast_t, fix_t = motion.t[fast], motion.t[fix]
    rough = np.minimum(1.0, motion.speed[fast] / 10)  # a standing car does not shake
    force = np.stack([motion.acceleration[fast], (motion.speed * motion.yaw_rate)[fast], np.full(len(fast_t), GRAVITY)], axis=1)
    force += random.normal(0, 1, force.shape) * (0.02 + 0.15 * rough[:, None])
    turning = np.zeros((len(fast_t), 3))
    turning[:, 2] = motion.yaw_rate[fast]
    turning += random.normal(0, 0.002, turning.shape)
    drift = np.cumsum(random.normal(0, 0.01, (len(fix_t), 2)), axis=0)  # satellite places wander, they do not jump
    east, north = motion.east[fix] + drift[:, 0], motion.north[fix] + drift[:, 1]
    latitude = plan.latitude + north / EARTH_METRES_PER_DEGREE
    longitude = plan.longitude + east / (EARTH_METRES_PER_DEGREE * np.cos(np.radians(plan.latitude)))
    return Sensed(
        fast_t,
        np.maximum(0, motion.speed[fast] + random.normal(0, 0.02, len(fast_t)) * (motion.speed[fast] > 0.1)),
        motion.steering_degrees[fast] + random.normal(0, 0.1, len(fast_t)),
        force,
        turning,
        fix_t,
        latitude,
        longitude,
        30 + 3 * np.sin(motion.t[fix] / 11),
        (90 - np.degrees(motion.yaw[fix])) % 360,
        motion.lead_distance[fix],
        np.maximum(0, motion.speed[fix] + random.normal(0, 0.05, len(fix_t))),
    )
