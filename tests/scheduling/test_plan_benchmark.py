"""The benchmark of plans in a short form: what it measures is there, and the gang lies on whole nodes."""

from __future__ import annotations

from benchmarks import plan
from benchmarks.report import Report
from bushel.scheduling.snapshot import Snapshot


def test_every_row_of_the_benchmark_is_measured() -> None:
    report = Report()
    plan.placements(report, 60, 200)
    plan.gang(report, 200, 8)
    plan.steady(report, 60, 20)
    plan.rounds(report, 60, 1500, 20)
    names = [record.name for record in report.records]
    for what in ("placements", "gang of 8 nodes", "steady state", "from scratch", "round after 20 changes"):
        assert any(what in name for name in names), (what, names)
    assert all(record.value > 0 for record in report.records)


def test_the_plain_loop_places_what_fits_and_no_more() -> None:
    snapshot = Snapshot()
    plan.fleet(snapshot, 4)
    waiting = plan.jobs(plan.classes(10, 1), plan.queues(snapshot, 3), 2000, 2)
    _, placed = plan.plain_loop(snapshot, waiting)
    assert 4 < placed < 2000
