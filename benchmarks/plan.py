"""How fast a plan is made, in CPU time of one core: `python -m benchmarks.plan [--json FILE]`.

- placements a second at 5,000 nodes with 10,000 tasks of mixed classes, all nodes considered; beside kube-scheduler, and beside a
  plain loop that looks at all nodes for each task and keeps neither queues, quotas, reasons nor a record;
- one round at 100,000 nodes, 1,000,000 jobs of 200 classes and 1,000 queues, from scratch and after 1,000 changes;
- a gang of 512 whole nodes with a topology at 5,000 nodes;
- a steady state at 10,000 nodes, with as many ends as starts.
"""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime

import numpy as np

from benchmarks.report import Report, parse, percentile
from bushel.domain.job import Constraints, GroupShape
from bushel.domain.resources import ResourceRequest
from bushel.scheduling.entities import Cluster, LiveAttempt, Node, Queue, ReadyJob, ShapeClass
from bushel.scheduling.kernels.mode import using
from bushel.scheduling.pass_over import Pass
from bushel.scheduling.plan import Plan, Policy, plan
from bushel.scheduling.record import Starts
from bushel.scheduling.snapshot import Snapshot
from bushel.scheduling.workspace import Workspace

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GIB = 1 << 30
MODELS = ("A100", "H100", "L40S")
KUBE_SCHEDULER = "kube-scheduler 1.36.3"
KUBE_SCHEDULER_RATE = 616.0


def fleet(snapshot: Snapshot, nodes: int) -> None:
    """Three in four nodes have eight accelerators of one of three models; racks of 16 and blocks of 256."""
    snapshot.put_cluster(Cluster(1, "c1", "s1"))
    for number in range(1, nodes + 1):
        capacity = {"cpu": 96_000, "memory": 768 * GIB}
        if number % 4:
            capacity = {"cpu": 128_000, "memory": 1024 * GIB, f"gpu/{MODELS[number % 3]}": 8000}
        topology = (("block", f"b{number // 256}"), ("rack", f"r{number // 16}"))
        snapshot.put_node(Node(number, 1, f"n{number}", capacity, {}, topology))


def classes(count: int, seed: int) -> list[ShapeClass]:
    """Half without accelerators; of the rest, parts of one, one, and several."""
    random = np.random.default_rng(seed)
    found: dict[ShapeClass, None] = {}
    while len(found) < count:
        cpu, memory = int(random.integers(1, 33)) * 500, int(random.integers(1, 65)) * GIB
        gpu = int(random.choice([0, 0, 0, 0, 250, 500, 1000, 1000, 2000, 4000, 8000]))
        models = (MODELS[random.integers(3)],) if gpu and random.random() < 0.3 else ()
        found[ShapeClass((GroupShape("main", 1, 1, ResourceRequest(cpu, memory, 0, gpu, models)),))] = None
    return list(found)


def queues(snapshot: Snapshot, count: int) -> list[int]:
    """Teams of ten below organisations of ten; the leaves have the jobs."""
    leaves = []
    for number in range(1, count + 1):
        parent = None if number <= max(1, count // 100) else 1 + number % max(1, count // 100)
        snapshot.put_queue(Queue(number, f"q{number:05}", parent, 1000 + number % 7 * 250, {"cpu": 10**12}))
        if parent is not None or count < 10:
            leaves.append(number)
    return leaves


def jobs(shapes: list[ShapeClass], leaves: list[int], count: int, seed: int, first: int = 1) -> list[ReadyJob]:
    random = np.random.default_rng(seed)
    kind = np.minimum(random.geometric(4 / len(shapes), count) - 1, len(shapes) - 1).tolist()
    queue = random.integers(len(leaves), size=count).tolist()
    at = NOW.timestamp()
    return [
        ReadyJob(first + number, leaves[queue[number]], shapes[kind[number]], 500, at - (count - number) * 1e-4) for number in range(count)
    ]


def follow(snapshot: Snapshot, starts: Starts, live: dict[tuple[int, int], LiveAttempt]) -> None:
    """What the plan started has started."""
    for start in starts:
        attempt = LiveAttempt(start.job_id, start.index, start.queue_id, start.runs)
        live[start.job_id, start.index] = attempt
        snapshot.put_attempt(attempt)
    snapshot.change_jobs(remove=[start.job_id for start in starts])


def timed(snapshot: Snapshot, policy: Policy) -> tuple[float, Plan]:
    """CPU seconds: a plan is made on one core, and waits for nothing."""
    began = time.process_time()
    made = plan(snapshot, NOW, policy)
    return time.process_time() - began, made


def plain_loop(snapshot: Snapshot, waiting: list[ReadyJob]) -> tuple[float, int]:
    """Seconds for these tasks, oldest first: for each all nodes in a vector, the fullest on which it fits. How many found one."""
    free, devices = snapshot.fleet.free(), snapshot.fleet.device_free()
    columns = snapshot.fleet.column_of
    cpu, memory, scale = free[columns["cpu"]], free[columns["memory"]], 1.0 / GIB
    model_of = {model: snapshot.fleet.model_of[columns[f"gpu/{model}"]] for model in MODELS}
    placed, began = 0, time.process_time()
    for job in waiting:
        asked = job.shape.groups[0].request
        fits = (cpu >= asked.cpu_milli) & (memory >= asked.memory_bytes)
        share, whole = min(asked.gpu_milli, 1000), max(1, asked.gpu_milli // 1000)
        for model in (asked.gpu_models or MODELS) if asked.gpu_milli else (None,):
            there = fits if model is None else fits & ((devices[model_of[model]] >= share).sum(axis=1) >= whole)
            rows = np.flatnonzero(there)
            if len(rows):
                row = rows[np.argmin(cpu[rows] * 1e-3 + memory[rows] * scale)]
                cpu[row] -= asked.cpu_milli
                memory[row] -= asked.memory_bytes
                if model is not None:
                    of_node = devices[model_of[model], row]
                    of_node[np.flatnonzero(of_node >= share)[:whole]] -= share
                placed += 1
                break
    return time.process_time() - began, placed


def placements(report: Report, nodes: int, tasks: int) -> None:
    snapshot = Snapshot()
    fleet(snapshot, nodes)
    leaves = queues(snapshot, 30)
    waiting = jobs(classes(100, 1), leaves, tasks, 2)
    snapshot.change_jobs(waiting)
    plain_seconds, placed = plain_loop(snapshot, waiting)
    seconds, made = min((timed(_fresh(snapshot), Policy(starts_limit=10**6)) for _ in range(3)), key=lambda pair: pair[0])
    report.say(f"{len(made.starts):,} started, {len(made.waiting):,} lines wait")
    rate = len(made.starts) / seconds
    report.add(f"placements, {nodes:,} nodes", rate, "/s", KUBE_SCHEDULER, KUBE_SCHEDULER_RATE)
    report.add("the same", rate, "/s", "a plain loop", placed / plain_seconds)


def _fresh(snapshot: Snapshot) -> Snapshot:
    """Without what earlier plans have kept."""
    snapshot.workspace = Workspace()
    return snapshot


def rounds(report: Report, nodes: int, waiting: int, changes: int) -> None:
    snapshot = Snapshot()
    fleet(snapshot, nodes)
    leaves = queues(snapshot, 1000)
    shapes = classes(200, 3)
    live: dict[tuple[int, int], LiveAttempt] = {}
    report.say("a fleet that is full")
    policy = Policy(starts_limit=10**6, patience_seconds=1e9)
    snapshot.change_jobs(jobs(shapes, leaves, nodes * 12, 4, first=1))
    follow(snapshot, plan(snapshot, NOW, policy).starts, live)
    snapshot.change_jobs(jobs(shapes, leaves, max(0, waiting - len(snapshot.lines)), 5, first=10**8))
    report.say(f"{len(live):,} live, {len(snapshot.lines):,} wait")
    seconds, made = timed(_fresh(snapshot), policy)
    report.say(f"{len(made.starts):,} started")
    report.add(f"round, {nodes:,} nodes, {waiting:,} jobs, from scratch", seconds, "s", "must", 2.0)
    follow(snapshot, made.starts, live)
    random = np.random.default_rng(6)
    times = []
    for turn in range(8):
        ends = random.choice(len(live), changes // 2, replace=False).tolist()
        keys = list(live)
        for key in [keys[end] for end in ends]:
            del live[key]
            snapshot.remove_attempt(*key)
        snapshot.change_jobs(jobs(shapes, leaves, changes // 2, 7 + turn, first=10**9 + turn * changes))
        seconds, made = timed(snapshot, policy)
        times.append(seconds)
        follow(snapshot, made.starts, live)
        report.say(f"{len(made.starts):,} started in {seconds * 1e3:.1f} ms")
    report.add(f"round after {changes:,} changes, median", percentile(times, 50) * 1e3, "ms", "must", 50.0)
    report.add("memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "GiB", "must", 8.0)


def gang(report: Report, nodes: int, size: int) -> None:
    snapshot = Snapshot()
    fleet(snapshot, nodes)
    queues(snapshot, 3)
    shape = ShapeClass((GroupShape("main", size, size, ResourceRequest(96_000, 512 * GIB, 0, 8000)),), Constraints(prefer="block"))
    small = ShapeClass((GroupShape("main", 1, 1, ResourceRequest(8000, GIB)),))
    snapshot.change_jobs([ReadyJob(1, 1, small, 500, 0.0)])
    plan(snapshot, NOW, Policy())
    snapshot.change_jobs([ReadyJob(2, 1, shape, 900, 0.0)])
    seconds, made = timed(snapshot, Policy())
    used = {run.node_id for start in made.starts if start.job_id == 2 for run in start.runs}
    if len(used) != size:
        raise AssertionError(f"the gang lies on {len(used)} nodes, not on {size}")
    report.add(f"gang of {size} nodes at {nodes:,} nodes", seconds * 1e3, "ms", "must", 50.0)


def steady(report: Report, nodes: int, decisions: int) -> None:
    snapshot = Snapshot()
    fleet(snapshot, nodes)
    leaves = queues(snapshot, 30)
    shapes = classes(100, 1)
    live: dict[tuple[int, int], LiveAttempt] = {}
    policy = Policy(starts_limit=10**6)
    snapshot.change_jobs(jobs(shapes, leaves, nodes * 5, 2))
    follow(snapshot, plan(snapshot, NOW, policy).starts, live)
    random = np.random.default_rng(8)
    spent, whole, started = 0.0, 0.0, 0
    for turn in range(6):
        keys = list(live)
        for end in random.choice(len(keys), decisions, replace=False).tolist():
            del live[keys[end]]
            snapshot.remove_attempt(*keys[end])
        snapshot.change_jobs(jobs(shapes, leaves, decisions, 9 + turn, first=10**8 * (turn + 1)))
        began = time.process_time()
        made = Pass(snapshot, NOW.timestamp(), policy)
        ready = time.process_time()
        made.run()
        served, starts = time.process_time(), made.starts()
        if turn:
            spent, whole, started = spent + served - ready, whole + served - began, started + len(starts)
        follow(snapshot, starts, live)
    report.add(f"steady state at {nodes:,} nodes, a decision in the kernel", spent / max(1, started) * 1e6, "us", "must", 7.0)
    report.add("the same, with what a round costs besides", whole / max(1, started) * 1e6, "us")


def measure(report: Report, nodes: int, waiting: int) -> None:
    with using(compiled=True):
        report.say("warming up")
        warm = Snapshot()
        fleet(warm, 50)
        warm.change_jobs(jobs(classes(10, 1), queues(warm, 5), 50, 1))
        plan(warm, NOW, Policy())
        placements(report, 5_000, 10_000)
        gang(report, 5_000, 512)
        steady(report, 10_000, 2_000)
        rounds(report, nodes, waiting, 1_000)


if __name__ == "__main__":
    options = parse(__doc__ or "", nodes=100_000, waiting=1_000_000)
    report = Report()
    measure(report, options.nodes, options.waiting)
    report.finish(options.json)
