"""All benchmarks: `python -m benchmarks [--json FILE]`. Those that replay long traces run in a short form, so that it all takes less than
15 minutes on two cores.

Public traces are taken from `shared/traces` beside the checkout; without them openb runs on a made-up list and philly is left out.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import (
    kueue_scenarios,
    local_engine,
    openb,
    philly,
    pipelines,
    pipelines_overhead,
    plan,
    reports,
    scale,
    startup,
    submission,
    throughput,
)
from benchmarks.openb_trace import made_up_trace, read_trace
from benchmarks.report import Report, parse
from bushel.scheduling.kernels.mode import using

TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"


def scheduling(report: Report, traces: Path) -> None:
    """The core alone: no database, no processes."""
    plan.measure(report, nodes=100_000, waiting=1_000_000)
    kueue_scenarios.measure(report, part=0.2)
    pods = traces / "openb" / "openb_pod_list_default.csv"
    nodes = traces / "openb" / "openb_node_list_gpu_node.csv"
    with using(compiled=True):
        trace = read_trace(nodes, pods) if pods.exists() and nodes.exists() else made_up_trace(nodes=60, pods=700, seed=3)
        openb.measure_fill(report, trace, seeds=(42, 43))
    tenants = sorted((traces / "philly").glob("*.csv"))
    if tenants:
        philly.measure(report, tenants, jobs=1500)


if __name__ == "__main__":
    options = parse(__doc__ or "")
    report = Report()
    scheduling(report, TRACES)
    submission.measure(report, jobs=20_000, requests=3_200)
    throughput.measure(report, tasks=1000, starts=100, slurm_tasks=200)
    scale.measure(report, jobs=1_000_000, pages=400, waiting=100_000)
    startup.measure(report, times=30)
    local_engine.measure(report, tasks=1000, starts=100)
    reports.measure(report, tasks=2000)
    pipelines.measure(report, partitions=100_000, stages=6)
    pipelines_overhead.measure(report, partitions=1000, dagster_runs=30, process_runs=1)
    report.finish(options.json)
