"""The motion of the car and of the one ahead of it, at 100 Hz.

Guarantees: acceleration stays within what brakes and tyres give and is smooth; position, heading, speed and turning are derivatives of
one another to the accuracy of the step, so every sensor derived from them agrees with every other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

HERTZ = 100.0
WHEELBASE, STEERING_RATIO, LANE_METRES = 2.7, 15.0, 3.5
COMFORT, HARD_BRAKING, GRAVITY = 1.8, -5.5, 9.80665


@dataclass(frozen=True)
class Plan:
    """One drive. Times are seconds from its start."""

    name: str
    seed: int
    start: float  # Unix seconds
    latitude: float
    longitude: float
    heading_degrees: float
    cruise: float = 20.0
    seconds: float = 50.0
    lane_change_at: float = 12.0
    cut_in_at: float = 22.0
    braking_at: float = 31.0
    standing_seconds: float = 4.0


@dataclass
class Motion:
    t: np.ndarray
    speed: np.ndarray
    acceleration: np.ndarray
    yaw: np.ndarray  # anticlockwise from east
    yaw_rate: np.ndarray
    east: np.ndarray
    north: np.ndarray
    steering_degrees: np.ndarray
    lead_distance: np.ndarray
    lateral: np.ndarray
    events: list[dict[str, float | str]] = field(default_factory=list)

    def metres(self) -> float:
        return float(np.sum(np.hypot(np.diff(self.east), np.diff(self.north))))


def drive(plan: Plan) -> Motion:
    step = 1 / HERTZ
    t = np.arange(round(plan.seconds * HERTZ)) * step
    speed, stopped = _speed(plan, t)
    acceleration = np.gradient(speed, step)
    lateral = LANE_METRES * _smooth_step((t - plan.lane_change_at) / 5.0)
    sideways = np.gradient(lateral, step)
    way = np.cumsum(speed) * step
    random = np.random.default_rng(plan.seed)
    wave, phase = random.uniform(700, 1100), random.uniform(0, 2 * np.pi)
    # A bend of a kilometre's radius at most, none where the lane is changed, so that the swerve can be told from it.
    curvature = 1e-3 * np.sin(2 * np.pi * way / wave + phase) * (1 - np.exp(-(((t - plan.lane_change_at - 2.5) / 5) ** 4)))
    road = np.radians(90 - plan.heading_degrees) + np.cumsum(curvature * speed) * step
    moving = speed > 0.5
    yaw = road + np.where(moving, np.arctan2(sideways, np.maximum(speed, 0.5)), 0.0)
    yaw_rate = np.gradient(yaw, step)
    east, north = np.cumsum(speed * np.cos(yaw)) * step, np.cumsum(speed * np.sin(yaw)) * step
    steering = np.degrees(np.arctan(WHEELBASE * yaw_rate / np.maximum(speed, 1.0))) * STEERING_RATIO
    motion = Motion(t, speed, acceleration, yaw, yaw_rate, east, north, steering, _lead(plan, t, stopped), lateral)
    motion.events = [
        {"reason": "lane change", "at": plan.lane_change_at + 2.5, "sideways_m": LANE_METRES},
        {"reason": "cut-in", "at": plan.cut_in_at},
        {"reason": "hard braking", "at": plan.braking_at + 0.7, "strongest_m_s2": float(acceleration.min())},
        {"reason": "stop", "at": stopped, "standing_seconds": plan.standing_seconds},
    ]
    return motion


def _smooth_step(x: np.ndarray) -> np.ndarray:
    """From 0 to 1 with no jerk at the ends."""
    x = np.clip(x, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def _speed(plan: Plan, t: np.ndarray) -> tuple[np.ndarray, float]:
    """Cruise, brake hard to a stand, stand, drive off: acceleration follows what is wanted with a lag, as pedals do."""
    speed = np.empty(len(t))
    v, a, step = plan.cruise * 0.8, 0.0, 1 / HERTZ
    stopped = float("inf")
    for i, now in enumerate(t):
        if now < plan.braking_at:
            wanted = np.clip(0.5 * (plan.cruise - v), -COMFORT, COMFORT)
        elif now < stopped + plan.standing_seconds:
            wanted = HARD_BRAKING if v > 2 else -0.6 * v - 0.8
            if v <= 0.02 and now < stopped:
                stopped = float(now)
        else:
            wanted = np.clip(0.5 * (0.6 * plan.cruise - v), -COMFORT, COMFORT)
        a += (wanted - a) * step / 0.15
        v = max(0.0, v + a * step)
        if v == 0.0 and wanted < 0:
            a = 0.0
        speed[i] = v
    return speed, stopped


def _lead(plan: Plan, t: np.ndarray, stopped: float) -> np.ndarray:
    """Far ahead; then another cuts in; it drives off first after the stop."""
    distance = 70 + 4 * np.sin(t / 7)
    after = t >= plan.cut_in_at
    distance = np.where(after, 26 + 2 * np.sin((t - plan.cut_in_at) / 5), distance)
    closing = _smooth_step((t - plan.braking_at) / 4)
    distance = distance - (distance - 6.5) * closing * (t < stopped + plan.standing_seconds) * after
    off = np.clip(t - stopped - plan.standing_seconds, 0, None) if np.isfinite(stopped) else np.zeros(len(t))
    return np.where(off > 0, 6.5 + 18 * (1 - np.exp(-off / 5)), distance)
