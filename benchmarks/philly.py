"""Eight tenants' training jobs on one cluster, three sizes of it: `python -m benchmarks.philly CSV…`.

One CSV a tenant: arrival_s, model, gpus, v100_s. Without `--servers` the sizes follow from the work: average loads of 0.7, 0.6
and 0.5. Every policy sees the same jobs on the same servers (`shared_cluster` says how); baselines that need durations are told
the true ones, ours is told none. The frontier sweeps how strongly ours weighs fairness; what counts is the default, on all sizes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import cluster_policies as policies
from benchmarks.report import Report
from benchmarks.shared_cluster import Result, SchedulingPolicy, Trace, simulate
from bushel.scheduling.service_order import ServiceOrder

LOADS = (0.7, 0.6, 0.5)
FRONTIER = (
    ("Bushel, no fairness", ServiceOrder(balance=0)),
    ("Bushel, more fairness", ServiceOrder(balance=2)),
    ("Bushel, entitlement first", ServiceOrder(core_share=1)),
)
BEATEN = ("FIFO", "FIFO, first fit", "DRF", "EASY", "LAS", "LAS, 2 levels")
LEGEND = (
    "index: Jain's, over tenants, of the service each held for what it was entitled to while it asked for any (equal parts, max-min);",
    "share: of the mean part of its entitlement that it held; slow: of its mean slowdown. JCT, wait: hours.",
    "EASY and both shortest know the durations, nobody else does.",
)
SHORTEST = ("shortest first", "shortest remaining first")


def contenders(trace: Trace, *, frontier: bool) -> list[SchedulingPolicy]:
    fixed: list[SchedulingPolicy] = [
        policies.Fifo(trace),
        policies.FifoFirstFit(trace),
        policies.DominantShare(trace),
        policies.Easy(trace),
        policies.LeastAttainedService(trace),
        policies.LeastAttainedService(trace, (1,), "LAS, 2 levels"),
        policies.ShortestFirst(trace),
        policies.ShortestRemainingFirst(trace),
        policies.Bushel(trace),
    ]
    return fixed + ([policies.Bushel(trace, order, name) for name, order in FRONTIER] if frontier else [])


def run(report: Report, trace: Trace, sizes: Sequence[int], *, frontier: bool = True) -> list[Result]:
    results: list[Result] = []
    for servers in sizes:
        here = []
        for policy in contenders(trace, frontier=frontier):
            result = simulate(trace, servers, policy)
            report.say(f"{servers} servers, {result.policy}: {result.mean_completion:.1f} h, index {result.service_index:.3f}")
            here.append(result)
        _record(report, here)
        results += here
    return results


def measure(
    report: Report, files: Sequence[Path], servers: Sequence[int] = (), jobs: int | None = None, figure: Path | None = None
) -> None:
    trace = Trace.read(list(files), jobs)
    results = run(report, trace, servers or [trace.servers_for(load) for load in LOADS], frontier=jobs is None)
    print(table(results))
    if figure is not None:
        draw(results, figure)


def _record(report: Report, results: list[Result]) -> None:
    """Ours beside each baseline, in mean completion time and in the index."""
    by_name = {result.policy: result for result in results}
    ours = by_name["Bushel"]
    for name in (*BEATEN, *SHORTEST):
        other = by_name[name]
        size = f"philly {ours.servers} servers"
        report.add(f"{size}, mean completion", ours.mean_completion, "h", name, other.mean_completion)
        report.add(f"{size}, Jain's index", ours.service_index, "", name, other.service_index)


def table(results: Sequence[Result]) -> str:
    head = ("servers", "policy", "mean JCT", "median", "p99", "wait", "index", "share", "slow", "stops", "use")
    form = "{:>7}  {:32} {:>9} {:>7} {:>7} {:>7}  {:>6} {:>6} {:>6}  {:>7} {:>6}"
    return "\n".join([form.format(*head), *(form.format(*_cells(result)) for result in results), *LEGEND])


def _cells(r: Result) -> tuple[str, ...]:
    hours = (f"{r.mean_completion:.1f} h", f"{r.median_completion:.2f}", f"{r.completion_99:.0f}", f"{r.mean_wait:.1f}")
    indices = (f"{r.service_index:.3f}", f"{r.share_index:.3f}", f"{r.slowdown_index:.3f}")
    return str(r.servers), r.policy, *hours, *indices, str(r.preemptions), f"{r.utilisation:.1%}"


def draw(results: Sequence[Result], file: Path) -> None:
    """A panel a size: mean completion time against the index, ours joined by a line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = sorted({result.servers for result in results})
    figure, panels = plt.subplots(1, len(sizes), figsize=(5 * len(sizes), 4.5), squeeze=False)
    for panel, servers in zip(panels[0], sizes, strict=True):
        here = [result for result in results if result.servers == servers]
        ours = sorted((r.service_index, r.mean_completion) for r in here if r.policy.startswith("Bushel"))
        panel.plot(*zip(*ours, strict=True), color="tab:green", marker="o", zorder=2)
        for result in here:
            point = result.service_index, result.mean_completion
            if not result.policy.startswith("Bushel"):
                panel.plot(*point, color="tab:gray", marker="s")
                panel.annotate(result.policy, point, textcoords="offset points", xytext=(5, 4), fontsize=7)
            elif result.policy == "Bushel":
                panel.plot(*point, color="tab:green", marker="*", markersize=14, zorder=3)
                panel.annotate("Bushel", point, textcoords="offset points", xytext=(-8, 10), fontsize=8, weight="bold")
        panel.set_yscale("log")
        panel.set_title(f"{servers} servers of 8")
        panel.set_xlabel("Jain's index of the tenants (right is fairer)")
    panels[0][0].set_ylabel("mean completion time, hours (down is better)")
    figure.tight_layout()
    figure.savefig(file, dpi=130, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="CSV")
    parser.add_argument("--servers", type=lambda text: [int(part) for part in text.split(",")], default=[], metavar="N,N,N")
    parser.add_argument("--jobs", type=int, metavar="N", help="only the first N arrivals, and no frontier: the short form")
    parser.add_argument("--figure", type=Path, metavar="PNG")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    report = Report()
    measure(report, options.files, options.servers, options.jobs, options.figure)
    report.finish(options.json)


if __name__ == "__main__":
    main()
