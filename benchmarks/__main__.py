"""All benchmarks: `python -m benchmarks [--json FILE]`."""

from __future__ import annotations

from benchmarks import local_engine, pipelines, pipelines_overhead, reports, scale, startup, submission, throughput
from benchmarks.report import Report, parse

if __name__ == "__main__":
    options = parse(__doc__ or "")
    report = Report()
    submission.measure(report, jobs=20_000, requests=3_200)
    throughput.measure(report, tasks=1000, starts=100, slurm_tasks=200)
    scale.measure(report, jobs=1_000_000, pages=400, waiting=100_000)
    startup.measure(report, times=30)
    local_engine.measure(report, tasks=1000, starts=100)
    reports.measure(report, tasks=2000)
    pipelines.measure(report, partitions=100_000, stages=6)
    pipelines_overhead.measure(report, partitions=1000, dagster_runs=30, process_runs=1)
    report.finish(options.json)
