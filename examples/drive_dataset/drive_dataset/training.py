"""Train a small network on a published version, to prove that the data set can be used with the ordinary loaders.

Guarantees: shards are read by `webdataset`, the index by `pyarrow`, neither with anything of ours; the same version and seed give the
same losses. The network foresees the change of speed one second ahead from the last two seconds; it is a proof, not a driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import webdataset

from drive_dataset.errors import NothingUsable

STEPS, BATCH, HIDDEN, RATE = 300, 64, 32, 3e-3


@dataclass(frozen=True)
class Trained:
    samples: int
    first_loss: float
    last_loss: float
    test_loss: float | None
    naive_test_loss: float | None  # of saying that the speed stays as it is

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def read_side(version: Path, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Windows and targets of a side, as anyone would read them."""
    urls = [str(path) for path in sorted(version.glob(f"{side}-*.tar"))]
    if not urls:
        return np.empty((0, 0)), np.empty(0)
    loader = webdataset.WebDataset(urls, shardshuffle=False).decode()
    pairs = [(sample["signals.npy"], sample["target.npy"]) for sample in loader if "signals.npy" in sample]
    if not pairs:
        return np.empty((0, 0)), np.empty(0)
    return np.stack([window for window, _ in pairs]).astype(np.float64), np.concatenate([target for _, target in pairs]).astype(np.float64)


def train(version: Path, steps: int = STEPS, seed: int = 0) -> Trained:
    index = pq.read_table(version / "index.parquet", columns=["side", "has_signals"]).to_pylist()
    windows, targets = read_side(version, "train")
    wanted = sum(row["side"] == "train" and row["has_signals"] for row in index)
    if len(targets) != wanted:
        raise NothingUsable(f"the shards hold {len(targets)} windows to train on, the index {wanted}")
    if not len(targets):
        raise NothingUsable("nothing to train on: no recording on this side has a speed")
    network = _Network(windows, targets - windows[:, -1, 0], seed)
    losses = [network.step() for _ in range(steps)]
    tail = max(1, steps // 10)
    test_windows, test_targets = read_side(version, "test")
    test = naive = None
    if len(test_targets):
        change = test_targets - test_windows[:, -1, 0]
        test, naive = float(np.mean((network.predict(test_windows) - change) ** 2)), float(np.mean(change**2))
    return Trained(len(targets), float(np.mean(losses[:tail])), float(np.mean(losses[-tail:])), test, naive)


class _Network:
    """Two layers, tanh, Adam (Kingma & Ba 2015)."""

    def __init__(self, windows: np.ndarray, changes: np.ndarray, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        flat = _flat(windows)
        self.mean, self.deviation = flat.mean(0), flat.std(0) + 1e-3
        self.x, self.y = (flat - self.mean) / self.deviation, changes
        inputs = flat.shape[1]
        first, second = self.random.normal(0, inputs**-0.5, (inputs, HIDDEN)), self.random.normal(0, HIDDEN**-0.5, HIDDEN)
        self.weights = [first, np.zeros(HIDDEN), second, np.zeros(1)]
        self.first = [np.zeros_like(weight) for weight in self.weights]
        self.second = [np.zeros_like(weight) for weight in self.weights]
        self.steps = 0

    def step(self) -> float:
        rows = self.random.integers(0, len(self.y), min(BATCH, len(self.y)))
        x, y = self.x[rows], self.y[rows]
        a, b, c, d = self.weights
        hidden = np.tanh(x @ a + b)
        error = hidden @ c + d - y
        back = 2 * error[:, None] / len(y) * c * (1 - hidden**2)
        self._adam([x.T @ back, back.sum(0), hidden.T @ (2 * error / len(y)), np.array([2 * error.mean()])])
        return float(np.mean(error**2))

    def _adam(self, gradients: list[np.ndarray]) -> None:
        self.steps += 1
        for at, gradient in enumerate(gradients):
            self.first[at] = 0.9 * self.first[at] + 0.1 * gradient
            self.second[at] = 0.999 * self.second[at] + 0.001 * gradient**2
            step = self.first[at] / (1 - 0.9**self.steps) / (np.sqrt(self.second[at] / (1 - 0.999**self.steps)) + 1e-8)
            self.weights[at] = self.weights[at] - RATE * step

    def predict(self, windows: np.ndarray) -> np.ndarray:
        a, b, c, d = self.weights
        return np.tanh((_flat(windows) - self.mean) / self.deviation @ a + b) @ c + d


def _flat(windows: np.ndarray) -> np.ndarray:
    """Speed relative to now: the network sees changes, not how fast the road is."""
    relative = windows.copy()
    relative[:, :, 0] -= windows[:, -1:, 0]
    return np.concatenate([relative.reshape(len(windows), -1), windows[:, -1:, 0]], axis=1)
