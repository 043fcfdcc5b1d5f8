"""One large gang takes back a whole fleet that another queue has borrowed: `python -m benchmarks.reclaim [--json FILE]`.

On every node of 8 accelerators 8 tasks run that are beyond what their queue is entitled to; a gang that asks for all of every node is
within what its own is guaranteed. A plan says whom to stop for it, beside the published times of KAI for a reclaim of this size, and a
plain search that frees victim after victim and tries to place the gang after each, which does nothing else. Times are those of one core,
and the least of a few plans of a snapshot as a control plane has it: what runs was read before. That of the plan that reads it is told
as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.report import Report, parse
from bushel.domain.job import Constraints, GroupShape
from bushel.domain.resources import ResourceRequest
from bushel.scheduling.entities import Cluster, LiveAttempt, Node, Queue, ReadyJob, Run, ShapeClass
from bushel.scheduling.kernels.mode import serve_compiled
from bushel.scheduling.plan import Plan, Policy, plan
from bushel.scheduling.snapshot import Snapshot

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECONDS = NOW.timestamp()
CAPACITY = {"cpu": 64_000, "memory": 512 << 30, "gpu/H100": 8000}
TASK = {name: amount // 8 for name, amount in CAPACITY.items()}
NODES = (100, 200, 400, 700, 1000)
KAI = {100: 0.21, 1000: 76.3}
LIMIT = {1000: 0.1}
GANG = 10**6


def shape(count: int, parts: int) -> ShapeClass:
    """So many tasks, each of so many eighths of a node."""
    request = ResourceRequest(TASK["cpu"] * parts, TASK["memory"] * parts, 0, TASK["gpu/H100"] * parts, ())
    return ShapeClass((GroupShape("main", count, count, request),), Constraints())


def borrowed(nodes: int) -> Snapshot:
    snapshot = Snapshot()
    snapshot.put_cluster(Cluster(1, "c", "s"))
    for number in range(1, nodes + 1):
        snapshot.put_node(Node(number, 1, f"n{number}", CAPACITY, topology=(("rack", f"r{number // 16}"),)))
    snapshot.put_queue(Queue(1, "borrower"))
    snapshot.put_queue(Queue(2, "owner", guarantee={name: amount * nodes for name, amount in CAPACITY.items()}))
    one = shape(1, 1)
    for number in range(8 * nodes):
        run = Run("main", 0, 1, 1 + number // 8, TASK, ((number % 8,),))
        started = SECONDS - 600 - number * 7919 % 5000
        snapshot.put_attempt(LiveAttempt(number + 1, 0, 1, (run,), one, started_seconds=started))
    return snapshot


def gang(nodes: int) -> ReadyJob:
    return ReadyJob(GANG, 2, shape(nodes, 8), 500, SECONDS)


def seconds_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def planned(snapshot: Snapshot) -> Plan:
    return plan(snapshot, NOW, Policy(reclaim=True))


def plain_search(snapshot: Snapshot, nodes: int) -> int:
    """Victim after victim, those that lose the least first, until the gang fits. How many."""
    free = {node: dict.fromkeys(CAPACITY, 0) for node in range(1, nodes + 1)}
    victims = sorted(snapshot.fleet.attempts.values(), key=lambda attempt: (-attempt.started_seconds, attempt.job_id))
    for stopped, victim in enumerate(victims, start=1):
        for run in victim.runs:
            for name, amount in run.amounts.items():
                free[run.node_id][name] += amount
        placed = 0
        for of_node in free.values():
            placed += of_node["gpu/H100"] >= 8000 and of_node["cpu"] >= 64_000 and of_node["memory"] >= 512 << 30
        if placed >= nodes:
            return stopped
    return -1


def measure(report: Report, sizes: tuple[int, ...] = NODES, times: int = 3) -> None:
    serve_compiled()
    warm = borrowed(8)
    warm.change_jobs([gang(8)])
    planned(warm)
    for nodes in sizes:
        snapshot = borrowed(nodes)
        planned(snapshot)
        snapshot.change_jobs([gang(nodes)])
        first = seconds_of(lambda snapshot=snapshot: planned(snapshot))
        again = min(seconds_of(lambda snapshot=snapshot: planned(snapshot)) for _ in range(times))
        stopped = len(planned(snapshot).evictions)
        if stopped != 8 * nodes:
            raise RuntimeError(f"{stopped} of {8 * nodes} are stopped")
        naive = seconds_of(lambda snapshot=snapshot, nodes=nodes: plain_search(snapshot, nodes))
        name = f"{nodes} nodes, {8 * nodes:,} stopped"
        kai = ("KAI", KAI[nodes]) if nodes in KAI else (None, None)
        report.add(name, again, "s", *kai)
        report.add(f"{name}: beside a plain search", again, "s", "victim after victim", naive)
        report.add(f"{name}: the first plan, which reads what runs", first, "s")
        if nodes in LIMIT:
            report.add(f"{name}: beside its limit", again, "s", "limit", LIMIT[nodes])


if __name__ == "__main__":
    options = parse(__doc__ or "")
    report = Report()
    measure(report)
    report.finish(options.json)
