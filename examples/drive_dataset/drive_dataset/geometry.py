"""Places on the earth: WGS 84, ECEF, metres on a local plane. Pure functions over arrays."""

from __future__ import annotations

import numpy as np

SEMI_MAJOR_METRES = 6378137.0
FLATTENING = 1 / 298.257223563
_E2 = FLATTENING * (2 - FLATTENING)


def ecef(latitude: np.ndarray, longitude: np.ndarray, altitude: np.ndarray) -> np.ndarray:
    phi, lam = np.radians(latitude), np.radians(longitude)
    normal = SEMI_MAJOR_METRES / np.sqrt(1 - _E2 * np.sin(phi) ** 2)
    x, y = (normal + altitude) * np.cos(phi) * np.cos(lam), (normal + altitude) * np.cos(phi) * np.sin(lam)
    return np.stack([x, y, (normal * (1 - _E2) + altitude) * np.sin(phi)], axis=-1)


def geodetic(position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latitude, longitude, altitude of ECEF places (Bowring 1976; below a millimetre near the ground)."""
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    p = np.hypot(x, y)
    semi_minor = SEMI_MAJOR_METRES * (1 - FLATTENING)
    theta = np.arctan2(z * SEMI_MAJOR_METRES, p * semi_minor)
    second = _E2 / (1 - _E2)
    phi = np.arctan2(z + second * semi_minor * np.sin(theta) ** 3, p - _E2 * SEMI_MAJOR_METRES * np.cos(theta) ** 3)
    normal = SEMI_MAJOR_METRES / np.sqrt(1 - _E2 * np.sin(phi) ** 2)
    return np.degrees(phi), np.degrees(np.arctan2(y, x)), p / np.cos(phi) - normal


def east_north(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Metres east and north of the first place; good to a thousandth over the length of a drive."""
    phi = np.radians(latitude[0]) if len(latitude) else 0.0
    sine = np.sin(phi)
    meridian = SEMI_MAJOR_METRES * (1 - _E2) / (1 - _E2 * sine**2) ** 1.5
    normal = SEMI_MAJOR_METRES / np.sqrt(1 - _E2 * sine**2)
    east = np.radians(longitude - longitude[:1]) * normal * np.cos(phi)
    return np.stack([east, np.radians(latitude - latitude[:1]) * meridian], axis=-1)


def distances(places: np.ndarray) -> np.ndarray:
    """Metres from each place to the next."""
    return np.linalg.norm(np.diff(places, axis=0), axis=1)
