"""Learn what packing needs from the demand alone: hole prices, how much CPU and memory go with a device, how likely each class is.

Guarantees: a function of the demands as a set (their order, and how they are split into records, play no part), so equal contents give
equal tables, bit for bit. No durations, no order of arrival and no future enter. Demands without accelerators teach nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from bushel.scheduling.packing.holes import hole_prices
from bushel.scheduling.packing.presets import FILL, STEADY, Preset
from bushel.scheduling.packing.tables import DEVICE_MILLI, Floats, Tables, normal_loss

_LEVELS_LIMIT = 32
"""More levels of CPU or of memory than this are thinned out, rare ones first: a class then counts as a little larger than it is."""

_STEPS_PER_OCTAVE = 4
_REMEMBERED = 8
_NEVER = np.iinfo(np.int64).max


class Demand(NamedTuple):
    """`count` tasks that ask for so much CPU and memory, and for `whole` devices or a `share` of one, of one of `models` (none named:
    any)."""

    cpu: int
    memory: int
    whole: int
    share: int
    models: tuple[int, ...] = ()
    count: float = 1  # pyright: ignore[reportIncompatibleMethodOverride]

    @property
    def volume(self) -> int:
        """Of devices, in thousandths."""
        return self.whole * DEVICE_MILLI + self.share


@dataclass(frozen=True)
class Learned:
    """The tables of each preset are made when they are first asked for."""

    demands: tuple[Demand, ...]
    holes: Floats
    models: int
    most_devices: int

    @cached_property
    def fill(self) -> Tables:
        return _tables(self.demands, self.holes, FILL, self.models, self.most_devices)

    @cached_property
    def steady(self) -> Tables:
        return _tables(self.demands, self.holes, STEADY, self.models, self.most_devices)


_remembered: OrderedDict[tuple[tuple[Demand, ...], int, int], Learned] = OrderedDict()


def learn(demands: Iterable[Demand], models: int, most_devices: int) -> Learned:
    """Tables for a fleet with so many models and no node of more than `most_devices`. The last few results are remembered."""
    seen = merged(demands)
    name = (seen, models, most_devices)
    found = _remembered.get(name)
    if found is None:
        shares = [(d.share, d.count) for d in seen if d.share]
        sizes = sorted({share for share, _ in shares})
        holes = _holes(tuple(sizes), tuple(math.fsum(count for share, count in shares if share == size) for size in sizes))
        found = _remembered[name] = Learned(seen, holes, models, most_devices)
        while len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)
    _remembered.move_to_end(name)
    return found


@lru_cache(64)
def _holes(sizes: tuple[int, ...], counts: tuple[float, ...]) -> Floats:
    return hole_prices(list(sizes), list(counts))


def merged(demands: Iterable[Demand]) -> tuple[Demand, ...]:
    """One record a class, sorted; only those with accelerators."""
    counts: dict[Demand, list[float]] = {}
    for demand in demands:
        if demand.volume > 0 and demand.count > 0:
            name = demand._replace(models=tuple(sorted(set(demand.models))), count=1)
            counts.setdefault(name, []).append(demand.count)
    return tuple(name._replace(count=math.fsum(each)) for name, each in sorted(counts.items()))


def coarse(demands: Iterable[Demand]) -> tuple[Demand, ...]:
    """As `merged`, with counts rounded to quarters of an octave of their part of the whole: small changes of the demand change nothing."""
    seen = merged(demands)
    whole = math.fsum(demand.count for demand in seen)
    steps = [round(math.log2(demand.count / whole) * _STEPS_PER_OCTAVE) for demand in seen]
    return tuple(demand._replace(count=2.0 ** (step / _STEPS_PER_OCTAVE)) for demand, step in zip(seen, steps, strict=True))


def _tables(seen: Sequence[Demand], holes: Floats, preset: Preset, models: int, most_devices: int) -> Tables:
    weights = _weights(seen, preset)
    cpu = _needed([d.cpu for d in seen], seen)
    memory = _needed([d.memory for d in seen], seen)
    sizes = sorted({d.share for d in seen if d.share} | {DEVICE_MILLI})
    several_at = len(sizes) + 1
    cpu_levels, memory_levels, usable = _usable(seen, weights, sizes, several_at + most_devices + 1, max(models, 1))
    return Tables(
        hole=holes,
        size_index=np.searchsorted(np.array(sizes), np.arange(DEVICE_MILLI + 1), side="right").astype(np.int64),
        cpu_levels=cpu_levels,
        memory_levels=memory_levels,
        usable=usable * preset.usable,
        memory_stride=memory_levels.shape[1] + 1,
        several_at=several_at,
        cpu_mean=cpu[0],
        cpu_spread=cpu[1],
        cpu_price=preset.cpu_stranding * DEVICE_MILLI / cpu[0] if cpu[0] else 0.0,
        memory_mean=memory[0],
        memory_spread=memory[1],
        memory_price=preset.memory_stranding * DEVICE_MILLI / memory[0] if memory[0] else 0.0,
        loss=normal_loss(),
        quantum=preset.quantum,
        slope=preset.slope,
    )


def _weights(seen: Sequence[Demand], preset: Preset) -> list[float]:
    """How likely each class is to be the next, as the preset reckons it."""
    raw = [d.count * (d.volume if preset.by_volume else 1) for d in seen]
    whole = math.fsum(raw)
    several = math.fsum(weight for weight, d in zip(raw, seen, strict=True) if d.whole > 1) / whole if whole else 0.0
    scale = (preset.several + preset.several_share * several) / several if several else 0.0
    return [weight / whole * (scale if d.whole > 1 else 1.0) for weight, d in zip(raw, seen, strict=True)]


def _needed(amounts: Sequence[int], seen: Sequence[Demand]) -> tuple[float, float]:
    """Mean and spread of what is asked for with one device; the spread of n devices is the square root of n times it."""
    volume = math.fsum(d.count * d.volume for d in seen) / DEVICE_MILLI
    if not volume:
        return 0.0, 0.0
    mean = math.fsum(amount * d.count for amount, d in zip(amounts, seen, strict=True)) / volume
    squares = math.fsum(d.count * (amount - mean * d.volume / DEVICE_MILLI) ** 2 for amount, d in zip(amounts, seen, strict=True))
    return mean, math.sqrt(squares / volume)


def _usable(
    seen: Sequence[Demand], weights: Sequence[float], sizes: list[int], slots: int, models: int
) -> tuple[np.ndarray, np.ndarray, Floats]:
    """The levels of CPU and of memory for each model, and the cumulative weights."""
    by_model = [[(d, w) for d, w in zip(seen, weights, strict=True) if not d.models or model in d.models] for model in range(models)]
    cpu = [_levels([(d.cpu, w) for d, w in some]) for some in by_model]
    memory = [_levels([(d.memory, w) for d, w in some]) for some in by_model]
    cpu_width, memory_width = max(map(len, cpu)), max(map(len, memory))
    usable = np.zeros((models, cpu_width + 1, memory_width + 1, slots))
    several_at = len(sizes) + 1
    for model, some in enumerate(by_model):
        for d, weight in some:
            at = (model, bisect_left(cpu[model], d.cpu) + 1, bisect_left(memory[model], d.memory) + 1)
            if d.whole > 1:
                if several_at + d.whole < slots:  # the number of idle devices is multiplied in when it is looked up
                    usable[(*at, several_at + d.whole)] += weight * DEVICE_MILLI
            else:
                usable[(*at, sizes.index(d.share or DEVICE_MILLI) + 1)] += weight
    usable = usable.cumsum(axis=1).cumsum(axis=2)
    usable[..., :several_at] = usable[..., :several_at].cumsum(axis=3)
    usable[..., several_at:] = usable[..., several_at:].cumsum(axis=3)
    flat = usable.reshape(models, (cpu_width + 1) * (memory_width + 1), slots)
    return _padded(cpu, cpu_width), _padded(memory, memory_width), np.ascontiguousarray(flat)


def _levels(weighted: Sequence[tuple[int, float]]) -> list[int]:
    """The distinct amounts, thinned out to `_LEVELS_LIMIT`: the lightest gives its weight to the next larger one."""
    weight_of: dict[int, float] = {}
    for amount, weight in weighted:
        weight_of[amount] = weight_of.get(amount, 0.0) + weight
    levels = sorted(weight_of)
    while len(levels) > _LEVELS_LIMIT:
        lightest = min(range(len(levels) - 1), key=lambda number: weight_of[levels[number]])
        weight_of[levels[lightest + 1]] += weight_of[levels[lightest]]
        del levels[lightest]
    return levels


def _padded(levels: Sequence[Sequence[int]], width: int) -> np.ndarray:
    rows = np.full((len(levels), width), _NEVER, np.int64)
    for row, some in zip(rows, levels, strict=True):
        row[: len(some)] = some
    return rows
