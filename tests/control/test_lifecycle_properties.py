"""Random commands and reports, in any order, doubled, late and from strangers: the life cycle holds after each.

docs/concepts/lifecycle.md
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from bushel.domain.errors import Conflict, StaleEpoch
from bushel.domain.lifecycle import TERMINAL_JOB_STATES, ElementCounts, JobState, job_state
from bushel.domain.lifecycle import Reason as R
from bushel.domain.ranges import IndexRanges
from bushel.store.attempts import AttemptKey
from bushel.store.database import Database
from bushel.store.elements import PLACES
from tests.control.lifecycle_world import Agent, World, task

EXIT_CODES = st.sampled_from([0, 0, 0, 1, 2, 75, 137])
REASONS = st.sampled_from([None, None, None, R.OUT_OF_MEMORY, R.TIME_LIMIT, R.DISK_FULL, R.TASK_LOST, R.WORKDIR_FAILED, R.SIBLING_FAILED])
POLICIES = st.sampled_from(
    [
        {},
        {"attempts": 1},
        {"attempts": 2, "on": ["application", "infrastructure", "preempted", "unknown"]},
        {"attempts": 2, "on": ["application"], "backoff": 0},
    ]
)
MOST_JOBS = 8


class Lifecycle(RuleBasedStateMachine):
    """One database for the whole run; each example has a world of its own in it, told apart by its jobs."""

    database: Database
    built: World
    folders = itertools.count(1000)

    def __init__(self) -> None:
        super().__init__()
        self.world = type(self).built
        self.jobs: list[int] = []
        self.final: dict[int, tuple[str, int]] = {}
        self.said: list[tuple[Agent, dict[str, Any]]] = []
        self.keys: list[AttemptKey] = []
        for agent in self.world.agents:
            self.exchange(agent)

    def pick(self, choice: int) -> int:
        return self.jobs[choice % len(self.jobs)]

    def exchange(self, agent: Agent, *reports: dict[str, Any], **rest: Any) -> None:
        """As an agent does: on a refusal, end everything and begin anew."""
        try:
            self.world.sync(agent, *reports, **rest)
        except StaleEpoch:
            agent.epoch, agent.known_version = None, 0
            self.exchange(agent)
        except Conflict:
            self.world.silence(agent)
            self.world.settle()
            agent.epoch, agent.known_version = None, 0
            self.world.sync(agent)

    @precondition(lambda self: len(self.jobs) < MOST_JOBS)
    @rule(array=st.sampled_from([None, "0-2", "5,7,4095-4097"]), policy=POLICIES, held=st.booleans())
    def submit(self, array: str | None, policy: dict[str, Any], held: bool) -> None:
        self.jobs.append(self.world.submit(array=array, retry=policy, held=held))

    @precondition(lambda self: 0 < len(self.jobs) < MOST_JOBS)
    @rule(choice=st.integers(0, 99), condition=st.sampled_from(["success", "failure", "end"]), array=st.sampled_from([None, "0-1"]))
    def submit_after(self, choice: int, condition: str, array: str | None) -> None:
        self.jobs.append(self.world.submit(array=array, after=[(self.pick(choice), condition)]))

    @precondition(lambda self: self.jobs)
    @rule(choice=st.integers(0, 99), held=st.booleans())
    def hold_or_release(self, choice: int, held: bool) -> None:
        self.world.hold(self.pick(choice), held=held)

    @precondition(lambda self: self.jobs)
    @rule(choice=st.integers(0, 99), indices=st.sampled_from([None, None, "0", "1-2", "7,4096", "90"]))
    def cancel(self, choice: int, indices: str | None) -> None:
        self.world.cancel(self.pick(choice), indices)

    @precondition(lambda self: self.jobs)
    @rule(choice=st.integers(0, 99), count=st.integers(1, 3), cluster=st.integers(0, 1), ranks=st.integers(1, 2))
    def place(self, choice: int, count: int, cluster: int, ranks: int) -> None:
        self.keys += self.world.place(self.pick(choice), count, cluster, ranks)

    @precondition(lambda self: self.keys)
    @rule(
        choice=st.integers(0, 99),
        cluster=st.integers(0, 1),
        state=st.sampled_from(["starting", "running", "stopping"]),
        progress=st.booleans(),
    )
    def report_life(self, choice: int, cluster: int, state: str, progress: bool) -> None:
        agent = self.world.agents[cluster]
        facts: dict[str, Any] = {"progress": {"done": choice, "checkpoint": {"uri": f"file:///{choice}"}}} if progress else {}
        report = agent.report(self.keys[choice % len(self.keys)], state, **facts)
        self.said.append((agent, report))
        self.exchange(agent, report)

    @precondition(lambda self: self.keys)
    @rule(choice=st.integers(0, 99), cluster=st.integers(0, 1), codes=st.lists(EXIT_CODES, min_size=1, max_size=2), reason=REASONS)
    def report_end(self, choice: int, cluster: int, codes: list[int], reason: str | None) -> None:
        agent = self.world.agents[cluster]
        ends = [task(exit_code=code, rank=rank, **({"reason": reason} if reason and code else {})) for rank, code in enumerate(codes)]
        report = agent.report(self.keys[choice % len(self.keys)], "ended", *ends)
        self.said.append((agent, report))
        self.exchange(agent, report)

    @precondition(lambda self: self.said)
    @rule(choices=st.lists(st.integers(0, 99), min_size=1, max_size=4), elsewhere=st.booleans())
    def repeat(self, choices: list[int], elsewhere: bool) -> None:
        """Old reports, in any order, perhaps by a stranger."""
        old = [self.said[choice % len(self.said)] for choice in choices]
        agent = self.world.agents[choices[0] % 2] if elsewhere else old[0][0]
        self.exchange(agent, *(report for _, report in old))

    @rule(cluster=st.integers(0, 1))
    def forget_attempts(self, cluster: int) -> None:
        self.exchange(self.world.agents[cluster], complete=True)

    @rule(cluster=st.integers(0, 1))
    def restart_agent(self, cluster: int) -> None:
        agent = self.world.agents[cluster]
        agent.epoch, agent.known_version = None, 0
        self.exchange(agent)

    @rule(cluster=st.integers(0, 1))
    def replace_agent(self, cluster: int) -> None:
        agent = self.world.agents[cluster]
        agent.incarnation, agent.epoch, agent.known_version = f"folder-{next(self.folders)}", None, 0
        self.exchange(agent)

    @rule(cluster=st.integers(0, 1))
    def lose_cluster(self, cluster: int) -> None:
        self.world.silence(self.world.agents[cluster])
        self.world.settle()

    @precondition(lambda self: self.keys)
    @rule(choice=st.integers(0, 99))
    def preempt(self, choice: int) -> None:
        self.world.preempt(self.keys[choice % len(self.keys)])

    @rule(due=st.booleans())
    def controllers(self, due: bool) -> None:
        if due:
            self.world.make_due()
        self.world.settle()

    @invariant()
    def everything_adds_up(self) -> None:
        check(self.world, self.jobs, self.final)


def check(world: World, job_ids: list[int], final: dict[int, tuple[str, int]]) -> None:
    """The invariants of the life cycle. `final` remembers what had ended, and with which version.

    Events replay by the version of their object: positions of transactions that waited for each other may lie the other way round.
    """
    with world.database.transaction() as tx:
        jobs = tx.all("select *, pending::text as pending_text, spec ->> 'array' as array from jobs where id = any(%s)", (job_ids,))
        attempts = tx.all("select * from attempts where job_id = any(%s)", (job_ids,))
        retries = tx.all("select job_id, index, due_at from retries where job_id = any(%s)", (job_ids,))
        results = tx.all("select * from array_results where job_id = any(%s)", (job_ids,))
        events = tx.all(
            "select job_id, object, kind, body from events where job_id = any(%s) order by written_by, id",
            (job_ids,),
        )
    for job in jobs:
        counts = {place: job[f"{place}_count"] for place in PLACES}
        held = job["user_hold"] or job["unmet"] > 0
        derived = job_state(ElementCounts(**counts), held=held, cancelling=job["cancelling"])
        assert derived == job["state"], f"the stored state of {job['id']} is not what its elements add up to"
        if job["id"] in final:
            assert final[job["id"]] == (job["state"], job["version"]), f"{job['id']} had ended and changed"
        elif JobState(job["state"]) in TERMINAL_JOB_STATES:
            assert job["ended_at"] is not None
            final[job["id"]] = job["state"], job["version"]
        _check_places(job, counts, attempts, retries, results)
        told = [event["body"] for event in events if event["job_id"] == job["id"] and event["object"].startswith("job/")]
        replayed = max(enumerate(told), key=lambda numbered: (numbered[1]["version"], numbered[0]))[1]["state"]
        assert replayed == job["state"], f"the events of {job['id']} replay to {replayed}, not {job['state']}"
    newest: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["object"].startswith("attempt/") and event["body"]["version"] >= newest.get(event["object"], {"version": 0})["version"]:
            newest[event["object"]] = event["body"]
    for attempt in attempts:
        name = world.name(attempt)
        assert newest.get(name, {"state": "starting"})["state"] == attempt["state"], f"the events of {name} replay to another state"


def _check_places(
    job: dict[str, Any],
    counts: dict[str, int],
    attempts: list[dict[str, Any]],
    retries: list[dict[str, Any]],
    results: list[dict[str, Any]],
) -> None:
    """Every element is in exactly one place, and the counts are the sizes of the places."""
    everything = set(IndexRanges.parse(job["array"])) if job["array"] else {0}
    places: dict[str, list[int]] = {place: [] for place in PLACES}
    places["pending"] = list(IndexRanges.from_postgres(job["pending_text"]))
    for attempt in attempts:
        if attempt["job_id"] == job["id"] and attempt["state"] != "ended":
            places[attempt["state"]].append(attempt["index"])
    places["delayed"] = [row["index"] for row in retries if row["job_id"] == job["id"] and row["due_at"] is not None]
    if job["array"]:
        for row in results:
            if row["job_id"] == job["id"]:
                for place in ("succeeded", "failed", "cancelled"):
                    for part in row[place]:
                        places[place] += range(part.lower, part.upper)
    else:
        for place in ("succeeded", "failed", "cancelled"):
            places[place] = [0] * counts[place]
    assert {place: len(indices) for place, indices in places.items()} == counts, f"the counts of {job['id']} are not what is there"
    assert sorted(itertools.chain(*places.values())) == sorted(everything), f"an element of {job['id']} is in no place or in two"


def test_random_commands_and_reports_never_leave_the_table(database: Database) -> None:
    """docs/concepts/guarantees.md#life-cycle"""
    Lifecycle.database, Lifecycle.built = database, World.build(database)
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            derandomize=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            database=None,
        ),
    )


@pytest.mark.parametrize("seed", range(2))
def test_a_long_random_life_ends_with_everything_in_its_place(database: Database, seed: int) -> None:
    """As above, with less variety and more jobs at a time; then every job is brought to its end."""
    draw = random.Random(seed)
    world = World.build(database)
    for agent in world.agents:
        world.sync(agent)
    jobs = [world.submit(array=draw.choice([None, "0-9", "4090-4100"]), retry={"on": ["application"], "attempts": 2}) for _ in range(20)]
    jobs += [world.submit(after=[(draw.choice(jobs), draw.choice(["success", "failure", "end"]))]) for _ in range(10)]
    final: dict[int, tuple[str, int]] = {}
    for _ in range(400):
        open_jobs = [job for job in jobs if job not in final]
        if not open_jobs:
            break
        agent = world.agents[draw.randrange(2)]
        reports = []
        for job in draw.sample(open_jobs, min(5, len(open_jobs))):
            world.place(job, draw.randrange(1, 6), world.agents.index(agent))
            reports += [agent.report(key, "ended", task(exit_code=draw.choice([0, 0, 1, 75]))) for key in world.live(job)]
        world.sync(agent, *reports)
        world.make_due()
        world.settle()
        check(world, jobs, final)
    assert len(final) == len(jobs), "some job never ended"
