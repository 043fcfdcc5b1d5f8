"""Leaks that were planted, and divisions of whatever comes."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import random

from drive_dataset.split import Whereabouts, leaks, split


def row(name: str, start: float, cells: tuple[str, ...] = (), sources: tuple[str, ...] = ()) -> Whereabouts:
    return Whereabouts(name, start, start + 300, 300, cells, sources)


A, B, C = row("a", 0, ("1/1",), ("car",)), row("b", 1e6, ("2/2",), ("car",)), row("c", 1e6 + 500, ("3/3",), ("car",))
D = row("d", 5e6, ("1/1", "9/9"), ("bus",))


def random_rows(seed: int) -> list[Whereabouts]:
    chance = random.Random(seed)
    rows = []
    for number in range(chance.randrange(1, 60)):
        cells = tuple(f"{chance.randrange(60)}/0" for _ in range(chance.randrange(4)))
        rows.append(row(f"r{number}", chance.uniform(0, 40_000), cells, (f"car {chance.randrange(5)}",)))
    return rows


print(json.dumps({
    "clean": leaks([A, B], {"a": "train", "b": "test"}),
    "place": leaks([A, D], {"a": "train", "d": "test"}),
    "time": leaks([B, C], {"b": "train", "c": "test"}),
    "split_leaks": sum(len(leaks(rows, split(rows))) for rows in map(random_rows, range(200))),
}))  # fmt: skip
