"""Random fleets, queues and jobs, small enough to be looked at and to be checked the slow way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import strategies as st

from bushel.domain.job import Constraints, GroupShape
from bushel.domain.ranges import IndexRanges
from bushel.domain.resources import ResourceRequest
from bushel.scheduling.entities import Cluster, LiveAttempt, Node, Queue, ReadyJob, ShapeClass
from bushel.scheduling.plan import Plan, Policy, plan
from bushel.scheduling.snapshot import Snapshot

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = Policy()
MODELS = ("H100", "A100")


@dataclass
class World:
    """Records by id, as a database would hold them; `snapshot` loads them afresh."""

    clusters: dict[int, Cluster] = field(default_factory=dict)
    nodes: dict[int, Node] = field(default_factory=dict)
    queues: dict[int, Queue] = field(default_factory=dict)
    jobs: dict[int, ReadyJob] = field(default_factory=dict)
    attempts: dict[tuple[int, int], LiveAttempt] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        snapshot = Snapshot()
        for cluster in self.clusters.values():
            snapshot.put_cluster(cluster)
        for node in self.nodes.values():
            snapshot.put_node(node)
        for queue in self.queues.values():
            snapshot.put_queue(queue)
        for attempt in self.attempts.values():
            snapshot.put_attempt(attempt)
        snapshot.change_jobs(self.jobs.values())
        return snapshot

    def plan(self, policy: Policy = POLICY) -> Plan:
        return plan(self.snapshot(), NOW, policy)

    def with_started(self, made: Plan) -> dict[tuple[int, int], LiveAttempt]:
        """The live attempts once all of the plan has started."""
        started = {(s.job_id, s.index): LiveAttempt(s.job_id, s.index, s.queue_id, s.runs) for s in made.starts}
        assert not set(started) & set(self.attempts), "an element that is live was started again"
        return self.attempts | started

    def usable(self, node: Node) -> bool:
        cluster = self.clusters.get(node.cluster_id)
        return node.ready and not node.cordoned and cluster is not None and cluster.alive


def held(attempts: Iterable[LiveAttempt]) -> dict[int, dict[str, int]]:
    """What attempts hold of each node."""
    total: dict[int, dict[str, int]] = {}
    for attempt in attempts:
        for run in attempt.runs:
            of_node = total.setdefault(run.node_id, {})
            for name, amount in run.amounts.items():
                of_node[name] = of_node.get(name, 0) + amount * (run.stop - run.first)
    return total


def request(cpu: int = 1000, memory: int = 1, gpu: int = 0, *models: str) -> ResourceRequest:
    return ResourceRequest(cpu, memory, 0, gpu, models)


def group(name: str = "main", count: int = 1, least: int | None = None, **amounts: int) -> GroupShape:
    return GroupShape(name, count, count if least is None else least, request(**amounts))


def shape(*groups: GroupShape, **constraints: object) -> ShapeClass:
    return ShapeClass(groups or (group(),), Constraints(**constraints))  # type: ignore[arg-type]


def job(number: int, what: ShapeClass | None = None, **rest: object) -> ReadyJob:
    fields: dict[str, object] = {"queue_id": 1, "priority": 500, "submitted_seconds": NOW.timestamp(), **rest}
    return ReadyJob(id=number, shape=what or shape(), **fields)  # type: ignore[arg-type]


def fleet(*nodes: dict[str, int], cluster_id: int = 1) -> World:
    """One cluster of one queue."""
    world = World({cluster_id: Cluster(cluster_id, f"c{cluster_id}", f"s{cluster_id}")}, queues={1: Queue(1, "q1")})
    world.nodes = {number: Node(number, cluster_id, f"n{number}", capacity) for number, capacity in enumerate(nodes, start=1)}
    return world


_OFTEN = (True, True, True, True, True, False)

_capacities = st.builds(
    lambda cpu, memory, gpus, model: {"cpu": cpu * 1000, "memory": memory} | ({f"gpu/{model}": gpus * 1000} if gpus else {}),
    st.sampled_from([8, 4, 4, 2, 1, 0]),
    st.sampled_from([8, 8, 4, 2]),
    st.sampled_from([2, 4, 1, 0]),
    st.sampled_from(MODELS),
)
_labels = st.sampled_from([{"disk": "a", "zone": "b"}, {"disk": "a"}, {"zone": "b"}, {"disk": "b"}, {}])
_topologies = st.sampled_from(
    [*((("rack", rack), ("host", host)) for rack in ("r1", "r2") for host in ("h1", "h2", "h3")), (("rack", "r1"),), ()]
)
_requests = st.builds(
    ResourceRequest,
    st.sampled_from([500, 1000, 1000, 2000, 3000]),
    st.sampled_from([1, 0, 1, 2]),
    st.just(0),
    st.sampled_from([0, 0, 0, 0, 250, 400, 600, 1000, 2000]),
    st.sampled_from([(), (), ("H100",), ("A100", "H100")]),
)


@st.composite
def shapes(draw: st.DrawFn, *, most_groups: int = 2) -> ShapeClass:
    groups = []
    for number in range(draw(st.integers(1, most_groups))):
        count = draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
        groups.append(GroupShape(f"g{number}", count, draw(st.sampled_from([count, count, 1])), draw(_requests)))
    constraints = Constraints(
        sites=draw(st.sampled_from([(), (), (), (), ("s1",), ("s1", "s2")])),
        clusters=draw(st.sampled_from([(), (), (), (), ("c1",), ("c2",)])),
        labels=draw(st.sampled_from([(), (), (), (), (("disk", "a"),), (("zone", "b"),)])),
        require=draw(st.sampled_from([None, None, None, None, None, "rack", "rack", "host", "cluster", "site", "nvlink"])),
        prefer=draw(st.sampled_from([None, None, "rack", "host"])),
        spread=draw(st.sampled_from([None, None, None, "host", "rack"])),
    )
    return ShapeClass(tuple(groups), constraints, image=not draw(st.sampled_from(_OFTEN)))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to three clusters, seven nodes, four queues in a tree, eight jobs of a few shapes; in half of them something runs already."""
    world = World()
    for number in range(1, draw(st.integers(1, 3)) + 1):
        alive, containers, processes = draw(st.sampled_from(_OFTEN)), draw(st.booleans()), draw(st.sampled_from(_OFTEN))
        world.clusters[number] = Cluster(number, f"c{number}", f"s{(number + 1) // 2}", number, alive, containers, processes=processes)
    for number in range(1, draw(st.sampled_from([7, 5, 3, 1, 0])) + 1):
        ready, cordoned = draw(st.sampled_from(_OFTEN)), not draw(st.sampled_from(_OFTEN))
        cluster = draw(st.sampled_from(sorted(world.clusters)))
        world.nodes[number] = Node(number, cluster, f"n{number}", draw(_capacities), draw(_labels), draw(_topologies), ready, cordoned)
    add_queues(draw, world, [{}, {}, {}, {"cpu": 9000}, {"gpu": 2000}, {"memory": 12}, {"gpu/H100": 1000}])
    add_jobs(draw, world, draw(st.lists(shapes(), min_size=1, max_size=4)))
    return world


@st.composite
def tight_worlds(draw: st.DrawFn) -> World:
    """Room for everything, and quotas that leave room for little of it."""
    world = World({1: Cluster(1, "c1", "s1")})
    capacity = {"cpu": 64_000, "memory": 64, "gpu/H100": 8000, "gpu/A100": 8000}
    world.nodes = {number: Node(number, 1, f"n{number}", capacity) for number in (1, 2)}
    add_queues(draw, world, [{}, {"cpu": 2000}, {"cpu": 5000, "gpu": 3000}, {"gpu": 1000}, {"gpu/H100": 1000}, {"memory": 5}])
    groups = st.builds(GroupShape, st.just("main"), st.sampled_from([1, 1, 2, 4]), st.just(1), _requests)
    add_jobs(draw, world, draw(st.lists(groups.map(lambda group: ShapeClass((group,))), min_size=1, max_size=3)))
    return world


def add_queues(draw: st.DrawFn, world: World, quotas: list[dict[str, int]]) -> None:
    for number in range(1, draw(st.integers(1, 4)) + 1):
        parent = draw(st.sampled_from([None, *world.queues]))
        weight, quota = draw(st.sampled_from([500, 1000, 2000])), draw(st.sampled_from(quotas))
        world.queues[number] = Queue(number, f"q{number}", parent, weight, quota)


def add_jobs(draw: st.DrawFn, world: World, kinds: list[ShapeClass]) -> None:
    """Jobs that wait; in half the worlds others of the same kinds were started before, by another plan."""
    count = draw(st.sampled_from([8, 6, 4, 2, 1]))
    if draw(st.booleans()):
        world.jobs = {number: draw(ready_jobs(number, kinds, sorted(world.queues))) for number in range(101, 101 + count // 2)}
        world.attempts = world.with_started(world.plan())
    world.jobs = {number: draw(ready_jobs(number, kinds, sorted(world.queues))) for number in range(1, count + 1)}


@st.composite
def ready_jobs(draw: st.DrawFn, number: int, kinds: list[ShapeClass], queues: list[int]) -> ReadyJob:
    pending = IndexRanges(((0, 1),))
    startable = 1
    if draw(st.booleans()):
        pending = IndexRanges.of_indices(draw(st.sets(st.integers(0, 12), min_size=1, max_size=8)))
        startable = draw(st.integers(1, len(pending)))
    exclusions = draw(st.sampled_from([{}, {}, {next(iter(pending)): (1, 2)}]))
    waited = draw(st.sampled_from([0.0, 0.0, 3600.0]))
    return ReadyJob(
        number,
        draw(st.sampled_from(queues)),
        draw(st.sampled_from(kinds)),
        draw(st.sampled_from([250, 500, 500, 750])),
        NOW.timestamp() - waited,
        startable,
        pending,
        exclusions,
    )
