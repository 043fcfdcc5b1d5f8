"""Whole jobs: who is within the entitlement, who may take from whom: docs/concepts/fair-share.md#whole-jobs"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import isclose
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bushel.scheduling.fairness import ONE, Charges, Demand, Job, Shares, Standings, decayed
from bushel.scheduling.fairness.history import past_use
from tests.scheduling.fairness.worlds import RESOURCES, TRIED, World, positive, shares_of, vectors, worlds

Potential = tuple[dict[int, tuple[int, ...]], Counter[int]]


@st.composite
def arrivals(draw: Any) -> tuple[World, list[Job]]:
    """Jobs of a small tree, which are its demand, in any order."""
    world: World = draw(worlds(depth=2, zero=False, shapes=0))
    leaves = [queue.id for queue in world.queues]
    jobs = [
        Job(i, draw(st.sampled_from(leaves)), draw(vectors(positive, RESOURCES, 1)), draw(st.sampled_from([100, 500, 500, 900])))
        for i in range(draw(st.integers(1, 9)))
    ]
    return World(world.queues, world.capacity, tuple(Demand(job.queue_id, (job.amounts,)) for job in jobs)), jobs


class Cluster:
    """Admission and exchange as the rules allow them, one waiting job at a time, in no special order."""

    def __init__(self, shares: Shares) -> None:
        self.charges, self.standings = Charges(shares), Standings(shares)
        self.running: dict[int, Job] = {}

    def admit(self, job: Job) -> list[Job] | None:
        claim = self.standings.may_claim(job)
        prey: list[Job] = []
        if claim.rank_above is not None:
            prey += self.standings.bonus(job.queue_id, claim.rank_above)
        if claim.own_below is not None:
            prey += [other for other in self.running.values() if other.queue_id == job.queue_id and other.priority < claim.own_below]
        gone: list[Job] = []
        while not self.charges.fits(job.queue_id, job.amounts):
            if not prey:
                for other in gone:
                    self.charges.take(other.queue_id, other.amounts)
                return None
            gone.append(prey.pop(0))
            self.charges.release(gone[-1].queue_id, gone[-1].amounts)
        for other in reversed(gone[:]):  # what turned out not to be needed is given back
            self.charges.take(other.queue_id, other.amounts)
            if self.charges.fits(job.queue_id, job.amounts):
                gone.remove(other)
            else:
                self.charges.release(other.queue_id, other.amounts)
        for other in gone:
            self.end(other, charged=True)
        self.charges.take(job.queue_id, job.amounts)
        self.standings.start(job)
        self.running[job.id] = job
        return gone

    def end(self, job: Job, charged: bool = False) -> None:
        del self.running[job.id]
        self.standings.stop(job.id)
        if not charged:
            self.charges.release(job.queue_id, job.amounts)

    def potential(self) -> Potential:
        """By leaf the core jobs by priority, highest first; and the bonus jobs by rank."""
        core: dict[int, Counter[int]] = {}
        bonus: Counter[int] = Counter()
        for job in self.running.values():
            if self.standings.is_core(job):
                core.setdefault(job.queue_id, Counter())[job.priority] += 1
            else:
                bonus[self.standings.rank_of(job)] += 1
        return {leaf: tuple(counts[p] for p in (900, 500, 100)) for leaf, counts in core.items()}, bonus


def rises(before: Potential, after: Potential) -> bool:
    leaves = before[0].keys() | after[0].keys()
    pairs = [(before[0].get(leaf, (0, 0, 0)), after[0].get(leaf, (0, 0, 0))) for leaf in leaves]
    if any(old > new for old, new in pairs):
        return False
    if any(old < new for old, new in pairs):
        return True
    for rank in sorted(before[1].keys() | after[1].keys()):
        if before[1][rank] != after[1][rank]:
            return after[1][rank] > before[1][rank]
    return False


@given(case=arrivals(), ends=st.lists(st.integers(0, 99), max_size=4))
@TRIED
def test_reclaim_ends_and_leaves_every_queue_within_one_job(case: tuple[World, list[Job]], ends: list[int]) -> None:
    """Each admission and exchange raises the potential, so no sequence of them goes round. At rest a waiting job of the highest
    priority in its queue would take the queue's core jobs beyond its entitlement, or the queue holds bonus jobs itself."""
    world, pending = case
    shares = shares_of(world)
    cluster = Cluster(shares)

    def settle() -> None:
        moved = True
        while moved:
            moved = False
            for job in list(pending):
                before = cluster.potential()
                gone = cluster.admit(job)
                if gone is not None:
                    moved = True
                    assert rises(before, cluster.potential())
                    pending.remove(job)
                    pending.extend(gone)
        for job in pending:
            right = shares.entitlement(job.queue_id)
            runnable = all(
                job.amounts[r] <= shares.tree.path_ceiling[shares.tree.leaf_of[job.queue_id], shares.columns[r]] for r in job.amounts
            )
            used = Counter[str]()
            for other in cluster.running.values():
                if other.queue_id == job.queue_id:
                    used.update(other.amounts)
            assert not runnable or any(used[r] + amount > right[r] for r, amount in job.amounts.items())

    settle()
    for number in ends:
        if cluster.running:
            cluster.end(sorted(cluster.running.values(), key=lambda job: job.id)[number % len(cluster.running)])
            settle()


@given(case=arrivals())
@TRIED
def test_core_jobs_together_are_within_the_entitlement(case: tuple[World, list[Job]]) -> None:
    world, jobs = case
    shares = shares_of(world)
    standings = Standings(shares, jobs)
    for queue_id in shares.tree.leaf_of:
        right = shares.entitlement(queue_id)
        core = [job for job in jobs if job.queue_id == queue_id and standings.is_core(job)]
        assert all(sum(job.amounts.get(r, 0) for job in core) <= right[r] for r in RESOURCES)


@given(case=arrivals(), data=st.data())
@TRIED
def test_a_waiting_job_gets_the_rank_it_was_told(case: tuple[World, list[Job]], data: Any) -> None:
    world, jobs = case
    standings = Standings(shares_of(world), jobs[1:])
    told = standings.rank_of(jobs[0])
    room = standings.core_room(jobs[0].queue_id, jobs[0].amounts, jobs[0].priority)
    assert (room > 0) == (told <= ONE)
    standings.start(jobs[0])
    assert standings.rank_of(jobs[0]) == told


@given(case=arrivals())
@TRIED
def test_priority_moves_nothing_between_queues(case: tuple[World, list[Job]]) -> None:
    """With the priorities of one queue's jobs all raised, every rank and all that the others may claim stays."""
    world, jobs = case
    lifted = [Job(job.id, job.queue_id, job.amounts, job.priority + 10, job.started_seconds) for job in jobs]
    plain, raised = Standings(shares_of(world), jobs), Standings(shares_of(world), lifted)
    assert [plain.rank_of(job) for job in jobs] == [raised.rank_of(job) for job in lifted]
    assert [job.id for job in plain.bonus()] == [job.id for job in raised.bonus()]


def test_history_scales_the_order_within_a_class_and_never_moves_a_bonus_job_before_a_core_one() -> None:
    world = World(worlds_queues(), {"cpu": 20}, (Demand(1, ({"cpu": 5},), 4), Demand(2, ({"cpu": 5},), 4)))
    standings = Standings(shares_of(world), [Job("c", 2, {"cpu": 5})])
    heavy: tuple[Mapping[str, float], float] = ({"cpu": 1e9}, 0.0)
    mine, other, extra = Job("a", 1, {"cpu": 5}), Job("b", 2, {"cpu": 5}), Job("x", 2, {"cpu": 15})
    assert standings.order_key(mine) < standings.order_key(other)
    assert standings.order_key(mine, heavy, 0.0, 3600.0) > standings.order_key(other)
    assert standings.order_key(mine, heavy, 0.0, 3600.0) < standings.order_key(extra)
    assert standings.rank_of(mine) == ONE // 2


def worlds_queues() -> tuple[Any, ...]:
    from bushel.scheduling.entities import Queue

    return Queue(1, "a"), Queue(2, "b")


@given(events=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 100)), min_size=1, max_size=9), half=st.floats(1, 50))
@TRIED
def test_decay_when_touched_equals_the_sum_over_all_use(events: list[tuple[float, float]], half: float) -> None:
    history: tuple[Mapping[str, float], float] = ({}, 0.0)
    now, plain = 0.0, []
    for gap, used in events:
        now += gap
        history = decayed(history, now, half, {"cpu": used})
        plain.append((now, used))
    assert isclose(history[0]["cpu"], sum(used * 2 ** ((then - now) / half) for then, used in plain), abs_tol=1e-9)
    assert past_use(history, now, half, {"cpu": 10}) <= past_use(history, now, half, {"cpu": 5})
