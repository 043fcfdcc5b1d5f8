"""How full a GPU cluster gets: packing on lists of the openb format, beside BestFit and FGD as published.

    python -m benchmarks.openb --nodes NODES.csv --pods LIST.csv [LIST.csv …] --seeds 42-51
    python -m benchmarks.openb --nodes NODES.csv --pods LIST.csv … --departures --seeds 1-5

Without `--departures`: the published protocol; GPU allocated in percent of the capacity when demand is 130 % of it. BestFit and FGD
know the whole list, ours learns online from the pods that were offered before. With it: pods come and go, see `openb_churn`. Ties go
to the first node name, names being random for each seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.openb_churn import Churned, churn
from benchmarks.openb_fill import POLICIES, fill
from benchmarks.openb_trace import Trace, read_trace
from benchmarks.report import Report
from bushel.scheduling.kernels.mode import using

_DEFAULT_TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces" / "openb"


def seeds_of(text: str) -> list[int]:
    """`42-51`, or `42,43`."""
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(seed) for seed in text.split(",")]


def measure_fill(report: Report, trace: Trace, seeds: Sequence[int], part: float = 1.3) -> dict[str, np.ndarray]:
    """One list: a line for each policy. Returns what each allocated, by seed."""
    allocated: dict[str, np.ndarray] = {}
    refused: dict[str, np.ndarray] = {}
    for name, policy in POLICIES.items():
        started = time.monotonic()
        runs = [fill(trace, policy, seed, part) for seed in seeds]
        allocated[name] = np.array([run.allocated for run in runs])
        refused[name] = np.array([run.refused for run in runs]).mean(axis=0)
        gain = allocated[name] - allocated.get("FGD", allocated[name])
        print(
            f"{trace.name:12} {name:8} {allocated[name].mean():6.2f} ± {allocated[name].std():4.2f}"
            f"   over FGD {gain.mean():+5.2f}, worst seed {gain.min():+5.2f}"
            f"   refused share {refused[name][0]:4.1f} one {refused[name][1]:4.1f} several {refused[name][2]:4.1f} %"
            f"   {(time.monotonic() - started) / len(runs):5.2f} s a run",
            flush=True,
        )
    report.add(f"openb {trace.name}: GPU allocated", float(allocated["ours"].mean()), "%", "FGD", float(allocated["FGD"].mean()))
    report.add(f"openb {trace.name}: worst seed over FGD", float((allocated["ours"] - allocated["FGD"]).min()), "points")
    report.add(f"openb {trace.name}: refused more than FGD", float((refused["ours"] - refused["FGD"]).max()), "points")
    return allocated


def measure_departures(report: Report, trace: Trace, loads: Sequence[float], seeds: Sequence[int], pods: int) -> None:
    cells = [(queueing, load, name) for queueing in (True, False) for load in loads for name in POLICIES]
    runs: dict[tuple[bool, float, str], list[Churned]] = {cell: [] for cell in cells}
    for seed in seeds:  # the outer loop: what is learnt depends on the seed alone
        for queueing, load, name in cells:
            runs[queueing, load, name].append(churn(trace, POLICIES[name], queueing, load, pods, seed))
    results = {cell: np.array(some) for cell, some in runs.items()}
    for queueing, load, name in cells:
        kind = "queue" if queueing else "loss"
        print(f"{trace.name:12} {kind:5} {load:.1f} {name:8} {_departures_text(results[queueing, load, name], queueing)}", flush=True)
    for queueing in (True, False):
        for load in loads:
            kind = "queue" if queueing else "loss"
            for field, what in ((1, "fragmented"), (5, "wait of 8 GPUs")) if queueing else ((2, "lost"), (3, "lost of 8 GPUs")):
                ours, fgd = (float(results[queueing, load, name][:, field].mean()) for name in ("ours", "FGD"))
                report.add(f"openb {trace.name} {kind} {load:.1f}: {what}", ours, "lifetimes" if field == 5 else "%", "FGD", fgd)


def _departures_text(runs: np.ndarray, queueing: bool) -> str:
    mean, spread = runs.mean(axis=0), runs.std(axis=0)

    def of(field: int, digits: int) -> str:
        return f"{mean[field]:7.{digits}f} ± {spread[field]:.{digits}f}"

    if queueing:
        return f"fragmented {of(1, 2)} %   wait {of(4, 4)}   of 8 GPUs {of(5, 3)}"
    return f"allocated {of(0, 2)} %   lost {of(2, 2)} %   of 8 GPUs {of(3, 1)} %"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--traces", type=Path, default=_DEFAULT_TRACES, metavar="FOLDER", help="where lists are looked for when none is named"
    )
    parser.add_argument("--nodes", type=Path, metavar="CSV")
    parser.add_argument("--pods", type=Path, nargs="+", metavar="CSV")
    parser.add_argument("--seeds", type=seeds_of, metavar="FIRST-LAST", help="default 42-51, with departures 1-5")
    parser.add_argument("--departures", action="store_true", help="pods come and go")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.9, 1.0, 1.1])
    parser.add_argument("--arrivals", type=int, default=100_000, help="of a run with departures")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    options.nodes = options.nodes or options.traces / "openb_node_list_gpu_node.csv"
    if options.pods is None:
        options.pods = sorted(options.traces.glob("openb_pod_list_*.csv"))
    if not options.nodes.exists() or not options.pods:
        parser.error("no lists: name them with --nodes and --pods, or their folder with --traces")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    report = Report()
    with using(compiled=True):
        if options.departures:
            for path in options.pods:
                measure_departures(report, read_trace(options.nodes, path), options.loads, options.seeds or range(1, 6), options.arrivals)
        else:
            gains = []
            for path in options.pods:
                allocated = measure_fill(report, read_trace(options.nodes, path), options.seeds or range(42, 52))
                gains.append(float((allocated["ours"] - allocated["FGD"]).mean()))
            report.add("openb, all lists: mean over FGD", float(np.mean(gains)), "points")
    report.finish(options.json)


if __name__ == "__main__":
    main()
