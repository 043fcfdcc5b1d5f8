"""Small random fleets, demands and sequences of starts and ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from bushel.scheduling.packing.learning import Demand

MODELS = 3
DEVICES = 8


@dataclass(frozen=True)
class World:
    nodes: list[tuple[int, int, int, int]]  # CPU, memory, devices, model
    demands: list[Demand]
    moves: list[tuple[int, int]]  # a class starts, or (class -1) one of those that run ends

    @property
    def classes(self) -> np.ndarray:
        return np.array([(d.cpu, d.memory, d.whole, d.share, sum(1 << model for model in d.models)) for d in self.demands], np.int64)

    def arrays(self) -> tuple[np.ndarray, ...]:
        cpu, memory, counts, models = np.array(self.nodes, np.int64).T
        return cpu, memory, np.full((len(cpu), DEVICES), 1000), counts, models


_nodes = st.tuples(
    st.sampled_from([8_000, 32_000, 96_000]),
    st.sampled_from([16_384, 131_072, 393_216]),
    st.sampled_from([0, 1, 2, 4, 8]),
    st.integers(0, MODELS - 1),
)

_devices = st.one_of(
    st.tuples(st.just(0), st.sampled_from([110, 190, 270, 320, 470, 500, 650, 810, 999])),
    st.tuples(st.sampled_from([1, 1, 2, 4, 8]), st.just(0)),
    st.just((0, 0)),
)


@st.composite
def _demand(draw: st.DrawFn) -> Demand:
    whole, share = draw(_devices)
    models = draw(st.sampled_from([(), (), (), (0,), (1, 2)])) if whole or share else ()
    return Demand(
        draw(st.sampled_from([500, 2000, 6000, 12_000])),
        draw(st.sampled_from([512, 4096, 32_768])),
        whole,
        share,
        models,
        draw(st.integers(1, 50)),
    )


@st.composite
def worlds(draw: st.DrawFn, moves: int = 60) -> World:
    demands = draw(st.lists(_demand(), min_size=1, max_size=8))
    number = st.integers(-1, len(demands) - 1)
    return World(
        draw(st.lists(_nodes, min_size=1, max_size=12)), demands, draw(st.lists(st.tuples(number, st.integers(0, 1000)), max_size=moves))
    )
