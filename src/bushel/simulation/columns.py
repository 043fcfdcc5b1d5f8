"""Runs as Parquet: `jobs`, `queues` and `samples`, a row for each with the name of its run.

Guarantees: the same outcomes give the same bytes. pyarrow comes with the extra `simulation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bushel.simulation.measures import Outcomes


def write(runs: Sequence[Outcomes], folder: Path) -> list[Path]:
    """The files that were written."""
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name in ("jobs", "queues", "samples"):
        rows = [{"run": run.setting, **asdict(row)} for run in runs for row in getattr(run, name)]
        file = folder / f"{name}.parquet"
        parquet.write_table(pa.Table.from_pylist(rows), file)
        written.append(file)
    return written
