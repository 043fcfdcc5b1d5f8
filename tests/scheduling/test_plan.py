"""What every plan promises, on random fleets: docs/concepts/scheduling.md"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.domain.job import GroupShape
from bushel.domain.ranges import IndexRanges
from bushel.scheduling.entities import Cluster, LiveAttempt, Node, Queue, Run, ShapeClass
from bushel.scheduling.plan import Cause, Plan, Policy, Start, plan
from bushel.scheduling.snapshot import Snapshot
from tests.scheduling.worlds import NOW, POLICY, World, fleet, group, held, job, ready_jobs, request, shape, shapes, tight_worlds, worlds

MANY = settings(max_examples=120, deadline=None)


@given(worlds())
@MANY
def test_no_node_is_given_more_than_it_has(world: World) -> None:
    """docs/concepts/scheduling.md#fit"""
    for node_id, amounts in held(world.with_started(world.plan()).values()).items():
        node = world.nodes[node_id]
        assert world.usable(node)
        assert all(amount <= node.capacity.get(name, 0) for name, amount in amounts.items()), (node, amounts)


@given(worlds())
@MANY
def test_no_device_is_given_more_than_it_is(world: World) -> None:
    """docs/concepts/scheduling.md#accelerators"""
    devices: Counter[tuple[int, str, int]] = Counter()
    for attempt in world.with_started(world.plan()).values():
        for run in attempt.runs:
            for name, amount in run.amounts.items():
                if name.startswith("gpu/"):
                    assert len(run.devices) == run.stop - run.first
                    for of_task in run.devices:
                        assert len(set(of_task)) == len(of_task) == max(1, amount // 1000)
                        devices.update({(run.node_id, name, device): min(amount, 1000) for device in of_task})
    for (node_id, name, device), part in devices.items():
        assert part <= 1000
        assert device < world.nodes[node_id].capacity[name] // 1000


@given(worlds() | tight_worlds())
@MANY
def test_no_queue_holds_more_than_its_quota(world: World) -> None:
    """docs/concepts/scheduling.md#quota"""
    attempts = world.with_started(world.plan()).values()
    for queue in world.queues.values():
        below = {queue.id}
        while more := {q.id for q in world.queues.values() if q.parent_id in below} - below:
            below |= more
        total: Counter[str] = Counter()
        for amounts in held(attempt for attempt in attempts if attempt.queue_id in below).values():
            total.update(amounts)
        total["gpu"] = sum(amount for name, amount in total.items() if name.startswith("gpu/"))
        assert all(total[name] <= limit for name, limit in queue.quota.items()), (queue, total)


@given(worlds())
@MANY
def test_a_gang_starts_whole_or_not_at_all(world: World) -> None:
    """docs/concepts/scheduling.md#gangs"""
    for start in world.plan().starts:
        wanted = world.jobs[start.job_id].shape
        by_group = Counter({run.group: 0 for run in start.runs})
        rank = 0
        for run in start.runs:
            assert run.first == rank
            rank = run.stop
            by_group[run.group] += run.stop - run.first
        for asked in wanted.groups:
            assert asked.min_count <= by_group[asked.name] <= asked.count
        assert len({world.nodes[run.node_id].cluster_id for run in start.runs}) == 1
        for asked in wanted.groups:
            models = {name for run in start.runs if run.group == asked.name for name in run.amounts if name.startswith("gpu/")}
            assert len(models) <= 1


@given(worlds())
@MANY
def test_every_constraint_of_a_document_holds(world: World) -> None:
    """docs/concepts/scheduling.md#constraints"""
    for start in world.plan().starts:
        wanted = world.jobs[start.job_id].shape
        rules = wanted.constraints
        nodes = [world.nodes[run.node_id] for run in start.runs]
        for node in nodes:
            cluster = world.clusters[node.cluster_id]
            assert cluster.id == start.cluster_id
            assert cluster.epoch == start.epoch
            assert not rules.sites or cluster.site in rules.sites
            assert not rules.clusters or cluster.name in rules.clusters
            assert all(node.labels.get(key) == value for key, value in rules.labels)
            assert cluster.containers if wanted.image else cluster.processes
        if rules.require not in (None, "cluster", "site"):
            places = {place_of(node, rules.require or "") for node in nodes}
            assert len(places) == 1
            assert None not in places
        for run in start.runs:
            asked = next(asked for asked in wanted.groups if asked.name == run.group).request
            model = next((name.removeprefix("gpu/") for name in run.amounts if name.startswith("gpu/")), None)
            assert run.amounts == asked.amounts(model)
            assert model is None or not asked.gpu_models or model in asked.gpu_models


def place_of(node: Node, level: str) -> tuple[object, ...] | None:
    names = [name for name, _ in node.topology]
    return (node.cluster_id, *node.topology[: names.index(level) + 1]) if level in names else None


@given(worlds())
@MANY
def test_an_array_keeps_its_limit_and_its_order(world: World) -> None:
    """docs/concepts/scheduling.md#arrays"""
    for job_id, starts in world.plan().starting_jobs.items():
        record = world.jobs[job_id]
        indices = [start.index for start in starts]
        assert len(indices) <= record.startable
        if not record.exclusions:
            assert indices == list(record.pending.first(len(indices)))
        assert len(set(indices)) == len(indices)


@given(worlds())
@MANY
def test_the_same_snapshot_gives_the_same_plan_however_it_came_about(world: World) -> None:
    """docs/concepts/scheduling.md#snapshot"""
    turned = World(
        dict(reversed(world.clusters.items())),
        dict(reversed(world.nodes.items())),
        dict(reversed(world.queues.items())),
        dict(reversed(world.jobs.items())),
        dict(reversed(world.attempts.items())),
    )
    first, second = world.plan(), turned.plan()
    assert first.starts == second.starts
    assert sorted(map(str, first.waiting)) == sorted(map(str, second.waiting))
    assert (first.kept_free, first.revisit_at_seconds) == (second.kept_free, second.revisit_at_seconds)


@given(worlds(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_snapshot_that_followed_changes_is_one_that_was_loaded(world: World, data: st.DataObject) -> None:
    """docs/concepts/scheduling.md#snapshot"""
    snapshot = world.snapshot()
    kinds = [record.shape for record in world.jobs.values()] or [shape()]
    for _ in range(data.draw(st.integers(1, 12))):
        change_something(world, snapshot, kinds, data)
    assert snapshot.contents() == world.snapshot().contents()
    followed, loaded = plan(snapshot, NOW, POLICY), world.plan()
    assert followed.starts == loaded.starts
    assert sorted(map(str, followed.waiting)) == sorted(map(str, loaded.waiting))


def change_something(world: World, snapshot: Snapshot, kinds: list[ShapeClass], data: st.DataObject) -> None:
    what = data.draw(st.sampled_from(["start", "end", "job", "less", "node", "gone", "cluster", "queue"]))
    if what == "start":
        for start in plan(snapshot, NOW, POLICY).starts[: data.draw(st.integers(1, 5))]:
            take_start(world, snapshot, start)
    elif what == "end" and world.attempts:
        key = data.draw(st.sampled_from(sorted(world.attempts)))
        del world.attempts[key]
        snapshot.remove_attempt(*key)
    elif what == "job":
        number = data.draw(st.integers(1, 12))
        record = data.draw(ready_jobs(number, kinds, sorted(world.queues)))
        if not any(key[0] == number for key in world.attempts):
            world.jobs[number] = record
            snapshot.change_jobs([record])
    elif what == "less" and world.jobs:
        number = data.draw(st.sampled_from(sorted(world.jobs)))
        del world.jobs[number]
        snapshot.change_jobs(remove=[number])
    elif what == "node" and world.nodes:
        node = data.draw(st.sampled_from(list(world.nodes.values())))
        changed = replace(
            node,
            cordoned=data.draw(st.booleans()),
            labels=data.draw(st.sampled_from([{}, {"disk": "a"}])),
            capacity={**node.capacity, "cpu": data.draw(st.integers(0, 8)) * 1000, "gpu/B200": data.draw(st.sampled_from([0, 2000]))},
            topology=data.draw(st.sampled_from([(), (("rack", "r9"),)])),
        )
        world.nodes[node.id] = changed
        snapshot.put_node(changed)
    elif what == "gone" and world.nodes:
        number = data.draw(st.sampled_from(sorted(world.nodes)))
        node = world.nodes.pop(number)
        snapshot.remove_node(number)
        if data.draw(st.booleans()):
            world.nodes[number] = node
            snapshot.put_node(node)
    elif what == "cluster":
        cluster = data.draw(st.sampled_from(list(world.clusters.values())))
        world.clusters[cluster.id] = replace(cluster, alive=not cluster.alive, epoch=cluster.epoch + 1)
        snapshot.put_cluster(world.clusters[cluster.id])
    elif what == "queue":
        queue = data.draw(st.sampled_from(list(world.queues.values())))
        world.queues[queue.id] = replace(queue, quota=data.draw(st.sampled_from([{}, {"cpu": 2000}])))
        snapshot.put_queue(world.queues[queue.id])


def take_start(world: World, snapshot: Snapshot, start: Start) -> None:
    attempt = LiveAttempt(start.job_id, start.index, start.queue_id, start.runs)
    world.attempts[start.job_id, start.index] = attempt
    snapshot.put_attempt(attempt)
    record = world.jobs[start.job_id]
    pending = record.pending - IndexRanges(((start.index, start.index + 1),))
    if record.startable > 1:
        exclusions = {index: nodes for index, nodes in record.exclusions.items() if index in pending}
        world.jobs[start.job_id] = replace(record, pending=pending, startable=record.startable - 1, exclusions=exclusions)
        snapshot.change_jobs([world.jobs[start.job_id]])
    else:
        del world.jobs[start.job_id]
        snapshot.change_jobs(remove=[start.job_id])


@given(worlds(), shapes(most_groups=1))
@MANY
def test_what_fits_on_an_empty_fleet_starts_when_it_is_first(world: World, what: ShapeClass) -> None:
    """docs/concepts/scheduling.md#gangs: for one group, if a placement exists, one is found."""
    what = replace(what, constraints=replace(what.constraints, prefer=None))
    world.jobs, world.attempts = {1: job(1, what)}, {}
    world.queues = {1: Queue(1, "q1")}
    assert bool(world.plan().starts) == fits_somewhere(world, what)


def fits_somewhere(world: World, what: ShapeClass) -> bool:
    """Slow and obviously right: for each model and each place, the tasks that fit on its nodes one by one are counted."""
    (asked,) = what.groups
    rules = what.constraints
    models = [None] if not asked.request.gpu_milli else list(asked.request.gpu_models or ("H100", "A100"))
    for model in models:
        places: Counter[object] = Counter()
        for node in world.nodes.values():
            cluster = world.clusters[node.cluster_id]
            if (
                not world.usable(node)
                or (rules.sites and cluster.site not in rules.sites)
                or (rules.clusters and cluster.name not in rules.clusters)
                or any(node.labels.get(key) != value for key, value in rules.labels)
                or not (cluster.containers if what.image else cluster.processes)
            ):
                continue
            level = rules.require
            place = node.cluster_id if level in (None, "cluster", "site") else place_of(node, level or "")
            if place is not None:
                places[place] += tasks_that_fit(node, asked.request.amounts(model))
        if any(tasks >= asked.min_count for tasks in places.values()):
            return True
    return False


def tasks_that_fit(node: Node, amounts: dict[str, int]) -> int:
    """By adding tasks until one does not fit. Shares of one device go onto devices one by one."""
    free = dict(node.capacity)
    devices = {name: [1000] * (amount // 1000) for name, amount in free.items() if name.startswith("gpu/")}
    for tasks in range(100):
        for name, amount in amounts.items():
            if name in devices:
                part, number = (amount, 1) if amount < 1000 else (1000, amount // 1000)
                fitting = [place for place, left in enumerate(devices[name]) if left >= part][:number]
                if len(fitting) < number:
                    return tasks
                for place in fitting:
                    devices[name][place] -= part
            elif free.get(name, 0) < amount:
                return tasks
            else:
                free[name] -= amount
    return 100


@given(worlds() | tight_worlds())
@MANY
def test_whatever_waits_for_room_would_not_fit_beside_the_rest(world: World) -> None:
    """docs/concepts/scheduling.md#backfill: nothing is held back that fits, unless nodes are kept free."""
    policy = Policy(patience_seconds=1e9)
    made = world.plan(policy)
    assert made.complete
    left = World(world.clusters, world.nodes, world.queues, {}, world.with_started(made))
    for waiting in made.waiting:
        record = world.jobs[waiting.first_job_id]
        if record.exclusions or len(record.shape.groups) > 1:
            continue
        left.jobs = {record.id: replace(record, id=100, startable=1)}
        assert not left.plan(policy).starts, waiting


@given(worlds())
@MANY
def test_every_element_either_starts_or_is_counted_as_waiting(world: World) -> None:
    """docs/concepts/scheduling.md#reasons"""
    made = world.plan()
    assert len(made.starts) + sum(waiting.elements for waiting in made.waiting) == sum(record.startable for record in world.jobs.values())


@given(worlds())
@MANY
def test_each_node_is_counted_under_one_obstacle_or_has_room(world: World) -> None:
    """docs/concepts/scheduling.md#reasons"""
    made = world.plan(Policy(patience_seconds=1e9))
    for waiting in made.waiting:
        if waiting.over_quota is not None or world.jobs[waiting.first_job_id].exclusions:
            continue
        if waiting.cause is Cause.NO_ROOM and waiting.shape.task_count == 1:
            for counts in made.obstacles(waiting.shape).values():
                assert sum(count.nodes for count in counts) == len(world.nodes)


def started(made: Plan) -> list[int]:
    return [start.job_id for start in made.starts]


def test_higher_priority_goes_first_then_the_older_job() -> None:
    """docs/concepts/scheduling.md#order"""
    world = fleet({"cpu": 2000, "memory": 9})
    world.jobs = {1: job(1), 2: job(2), 3: job(3, priority=750)}
    assert started(world.plan()) == [3, 1]


def test_queues_of_equal_priority_share_by_weight() -> None:
    """docs/concepts/scheduling.md#order"""
    world = fleet({"cpu": 9000, "memory": 99})
    world.queues = {1: Queue(1, "q1", None, 1000), 2: Queue(2, "q2", None, 2000)}
    world.jobs = {number: job(number, queue_id=1 + (number > 20)) for number in range(1, 41)}
    assert Counter(number > 20 for number in started(world.plan())) == {False: 3, True: 6}


def test_best_fit_leaves_the_large_hole() -> None:
    """docs/concepts/scheduling.md#fit"""
    world = fleet({"cpu": 8000, "memory": 8}, {"cpu": 2000, "memory": 8}, {"cpu": 4000, "memory": 8})
    world.jobs = {1: job(1, shape(group(cpu=2000)))}
    assert world.plan().starts[0].runs == (Run("main", 0, 1, 2, {"cpu": 2000, "memory": 1}),)


def test_work_without_accelerators_keeps_off_their_nodes() -> None:
    """docs/concepts/scheduling.md#fit"""
    world = fleet({"cpu": 1000, "memory": 8, "gpu/H100": 8000}, {"cpu": 64000, "memory": 64})
    world.jobs = {1: job(1)}
    assert world.plan().starts[0].runs[0].node_id == 2


def test_models_are_taken_in_order_of_preference() -> None:
    """docs/concepts/scheduling.md#accelerators"""
    world = fleet({"cpu": 8000, "memory": 8, "gpu/H100": 1000}, {"cpu": 8000, "memory": 8, "gpu/A100": 1000})
    wanted = shape(GroupShape("main", 1, 1, request(1000, 1, 1000, "A100", "H100")))
    world.jobs = {1: job(1, wanted), 2: job(2, wanted), 3: job(3, wanted)}
    assert [start.runs[0].node_id for start in world.plan().starts] == [2, 1]


def test_a_gang_takes_the_tightest_rack_that_holds_it() -> None:
    """docs/concepts/scheduling.md#gangs"""
    world = fleet(*[{"cpu": 2000, "memory": 8}] * 5)
    for number, rack in zip(world.nodes, ("big", "big", "big", "small", "small"), strict=True):
        world.nodes[number] = replace(world.nodes[number], topology=(("rack", rack),))
    world.jobs = {1: job(1, shape(group(count=2, cpu=2000), require="rack"))}
    assert [run.node_id for run in world.plan().starts[0].runs] == [4, 5]


def test_spread_deals_evenly() -> None:
    """docs/concepts/scheduling.md#gangs"""
    world = fleet(*[{"cpu": 8000, "memory": 8}] * 3)
    world.jobs = {1: job(1, shape(group(count=6), spread="host"))}
    assert [run.stop - run.first for run in world.plan().starts[0].runs] == [2, 2, 2]


def test_a_long_blocked_large_job_gets_nodes_kept_free() -> None:
    """docs/concepts/scheduling.md#backfill"""
    world = fleet({"cpu": 4000, "memory": 99}, {"cpu": 4000, "memory": 99}, {"cpu": 4000, "memory": 99})
    world.jobs = {number: job(number, shape(group(cpu=3000))) for number in (1, 2)}
    world.attempts = world.with_started(world.plan())
    large = job(10, shape(group(count=2, cpu=4000)), submitted_seconds=NOW.timestamp() - 601)
    world.jobs = {10: large, **{number: job(number) for number in range(11, 20)}}
    made = world.plan()
    assert made.kept_free is not None
    assert len(made.kept_free.node_ids) == 2
    assert {run.node_id for start in made.starts for run in start.runs}.isdisjoint(made.kept_free.node_ids)
    patient = replace(large, submitted_seconds=NOW.timestamp() - 599)
    world.jobs[10] = patient
    made = world.plan()
    assert made.kept_free is None
    assert made.revisit_at_seconds == NOW.timestamp() + 1
    assert len(made.starts) == 6


def test_a_plan_that_is_full_says_so_and_the_next_goes_on() -> None:
    world = fleet({"cpu": 99000, "memory": 99})
    world.jobs = {number: job(number) for number in range(1, 31)}
    made = world.plan(Policy(starts_limit=20))
    assert (len(made.starts), made.complete) == (20, False)
    assert {waiting.cause for waiting in made.waiting} == {Cause.NOT_REACHED}


def test_many_equal_tasks_lie_as_if_placed_one_by_one() -> None:
    """docs/concepts/scheduling.md#fit"""
    world = fleet(*[{"cpu": cpu * 1000, "memory": 50} for cpu in (3, 7, 2, 5)])
    world.jobs = {number: job(number) for number in range(1, 14)}
    at_once = [start.runs for start in world.plan().starts]
    one_by_one = []
    for number, record in world.jobs.items():
        single = World(world.clusters, world.nodes, world.queues, {number: record}, world.attempts)
        made = single.plan()
        one_by_one += [start.runs for start in made.starts]
        world.attempts = single.with_started(made)
    assert at_once == one_by_one


def test_a_cluster_without_lease_gets_nothing() -> None:
    world = fleet({"cpu": 9000, "memory": 9})
    world.clusters[1] = Cluster(1, "c1", "s1", alive=False)
    world.jobs = {1: job(1)}
    assert world.plan().waiting[0].cause is Cause.NO_NODE


@given(worlds() | tight_worlds(), st.booleans(), st.booleans(), st.data())
@MANY
def test_entitlements_that_nobody_reads_decide_nothing(world: World, reclaim: bool, one_line: bool, data: st.DataObject) -> None:
    """docs/concepts/scheduling.md#order: a queue alone is served as it is beside one whose only job can never start."""
    only = min(world.queues)
    keep = data.draw(st.sampled_from(sorted(world.jobs))) if world.jobs else None
    world.jobs = {
        number: replace(record, queue_id=only, shape=world.jobs[keep].shape if one_line and keep else record.shape)
        for number, record in world.jobs.items()
    }
    world.attempts = {key: replace(attempt, queue_id=only) for key, attempt in world.attempts.items()}
    policy = replace(POLICY, reclaim=reclaim)
    alone = world.plan(policy)
    world.queues[90] = Queue(90, "zz")
    world.jobs[90] = job(90, shape(group(cpu=10**9)), queue_id=90)
    beside = world.plan(policy)
    assert list(alone.starts) == list(beside.starts)
    assert sorted(map(str, alone.waiting)) == sorted(str(one) for one in beside.waiting if one.queue_id != 90)
    assert (list(alone.evictions), list(alone.reservations)) == (list(beside.evictions), list(beside.reservations))
    assert (alone.kept_free, alone.revisit_at_seconds) == (beside.kept_free, beside.revisit_at_seconds)
    assert alone.shares.fleet() == beside.shares.fleet()
