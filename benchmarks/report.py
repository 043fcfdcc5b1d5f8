"""How every benchmark reports: a table for people and, with `--json FILE`, records for programs.

A record is `{"name", "value", "unit", "baseline", "baseline_value", "ratio"}`; `ratio` is value over baseline value.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    value: float
    unit: str
    baseline: str | None = None
    baseline_value: float | None = None
    ratio: float | None = field(default=None)

    @classmethod
    def of(cls, name: str, value: float, unit: str, baseline: str | None = None, baseline_value: float | None = None) -> Record:
        return cls(name, value, unit, baseline, baseline_value, value / baseline_value if baseline_value else None)


class Report:
    """Collects records, says each as soon as it is measured, prints the table at the end."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        print(f"  {time.monotonic() - self._started:6.1f} s  {text}", file=sys.stderr, flush=True)

    def add(self, name: str, value: float, unit: str, baseline: str | None = None, baseline_value: float | None = None) -> None:
        record = Record.of(name, value, unit, baseline, baseline_value)
        self.records.append(record)
        self.say(_line(record))

    def finish(self, json_file: Path | None) -> None:
        width = max((len(record.name) for record in self.records), default=0)
        for record in self.records:
            print(_line(record, width))
        if json_file is not None:
            json_file.write_text(json.dumps([asdict(record) for record in self.records], indent=2) + "\n")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(record: Record, width: int = 0) -> str:
    text = f"{record.name:{width}}  {_number(record.value):>10} {record.unit:<8}"
    if record.baseline_value is not None:
        text += f"  {record.baseline}: {_number(record.baseline_value)} {record.unit}  ({record.ratio:.2f} x)"
    return text


def parse(description: str, arguments: Sequence[str] | None = None, **defaults: int) -> argparse.Namespace:
    """`--json FILE` and one `--name N` for each default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE")
    for name, default in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=default, metavar="N", help=f"default {default}")
    return parser.parse_args(arguments)


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered) + 0.5) - 1))]
