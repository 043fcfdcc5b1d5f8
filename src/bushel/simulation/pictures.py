"""Runs as pictures: use over time, waits and completion times as distributions, shares beside entitlements.

Guarantees: the same outcomes give the same bytes; no display is needed. matplotlib comes with the extra `simulation`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bushel.simulation.measures import Outcomes

_DAY, _HOUR = 86400.0, 3600.0
_MOST_QUEUES = 24


def draw(runs: Sequence[Outcomes], folder: Path) -> list[Path]:
    """The files that were written."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, picture in (("use", _use), ("times", _times), ("shares", _shares), ("fragmentation", _fragmentation)):
        figure = plt.figure(figsize=(9, 4.5))
        picture(figure, runs)
        figure.tight_layout()
        file = folder / f"{name}.png"
        figure.savefig(file, dpi=120, metadata={"Software": None})
        plt.close(figure)
        written.append(file)
    return written


def _use(figure: Any, runs: Sequence[Outcomes]) -> None:
    panel = figure.add_subplot()
    for run in runs:
        panel.step([s.at / _DAY for s in run.samples], [s.used for s in run.samples], where="post", label=run.setting, linewidth=1)
    panel.set(xlabel="days", ylabel=f"part of {run_name(runs)} in use", ylim=(0, 1.02))
    panel.legend()


def _times(figure: Any, runs: Sequence[Outcomes]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for run in runs:
        for panel, values in (
            (left, [job.wait for job in run.jobs if not math.isnan(job.first_start)]),
            (right, [job.completion for job in run.jobs if not math.isnan(job.end)]),
        ):
            ordered = sorted(max(value, 1.0) / _HOUR for value in values)
            panel.step(ordered, [(at + 1) / len(ordered) for at in range(len(ordered))], where="post", label=run.setting)
    for panel, name in ((left, "wait"), (right, "completion")):
        panel.set(xscale="log", xlabel=f"{name}, hours")
    left.set(ylabel="part of the jobs", ylim=(0, 1))
    right.legend()


def _shares(figure: Any, runs: Sequence[Outcomes]) -> None:
    """A bar a queue and run; the line is what it was entitled to."""
    panel = figure.add_subplot()
    largest = sorted(runs[0].queues, key=lambda queue: (-queue.entitled, queue.name))[:_MOST_QUEUES]
    width = 0.8 / len(runs)
    for number, run in enumerate(runs):
        held = {queue.name: queue.held / queue.entitled if queue.entitled else 0.0 for queue in run.queues}
        places = [at + number * width for at in range(len(largest))]
        panel.bar(places, [held.get(queue.name, 0.0) for queue in largest], width, label=run.setting)
    panel.axhline(1.0, color="black", linewidth=0.8)
    panel.set_xticks([at + 0.4 - width / 2 for at in range(len(largest))], [queue.name for queue in largest], rotation=60, fontsize=7)
    panel.set(ylabel="held for what it was entitled to")
    panel.legend()


def _fragmentation(figure: Any, runs: Sequence[Outcomes]) -> None:
    panel = figure.add_subplot()
    for run in runs:
        panel.step([s.at / _DAY for s in run.samples], [s.fragmented for s in run.samples], where="post", label=run.setting, linewidth=1)
    panel.set(xlabel="days", ylabel="part of what is free that lies on nodes in use", ylim=(0, 1.02))
    panel.legend()


def run_name(runs: Sequence[Outcomes]) -> str:
    return "accelerators" if runs[0].scarce == "gpu" else "CPUs"
