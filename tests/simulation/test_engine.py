"""What a simulation promises: the life cycle obeyed, the same bytes for the same seed, nothing over-committed, work conserved."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.domain.retry import RetryPolicy
from bushel.scheduling.plan import Policy
from bushel.simulation.conditions import Conditions
from bushel.simulation.engine import Setting, Simulation
from bushel.simulation.measures import Outcomes
from bushel.simulation.nodes import world_from
from bushel.simulation.trace import TraceJob, gang_of_accelerators, one_group

DEFAULT = Setting("default", Policy())
STORMY = Conditions(seed=7, node_failure_seconds=4000, node_repair_seconds=500, spot_reclaim_seconds=2000, task_failure_seconds=5000)


def jobs_of(sizes: list[tuple[int, int, int, int]]) -> list[TraceJob]:
    """Queue, accelerators, arrival, runtime."""
    return [
        TraceJob(
            *(at, f"team-{queue}", float(arrival), float(runtime), gang_of_accelerators(gpus, 4)),
            checkpoint_seconds=100.0,
            retry=RetryPolicy(attempts=50),
        )
        for at, (queue, gpus, arrival, runtime) in enumerate(sizes, start=1)
    ]


traces = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 4, 8]), st.integers(0, 3000), st.integers(1, 3000)), min_size=1, max_size=25
).map(jobs_of)


def run(jobs: list[TraceJob], nodes: str = "3xV100:4", conditions: Conditions | None = None) -> Outcomes:
    return Simulation(jobs, world_from(nodes), DEFAULT, conditions).run()


@given(traces)
@settings(max_examples=25, deadline=None)
def test_every_job_ends_and_holds_its_runtime_and_what_it_takes_to_go_on(jobs):
    outcomes = run(jobs)
    assert {job.state for job in outcomes.jobs} == {"succeeded"}
    again = 0.0
    for job, trace in zip(outcomes.jobs, sorted(jobs, key=lambda job: (job.arrival_seconds, job.id)), strict=True):
        held = job.end - job.first_start
        assert job.wait >= 0
        assert held >= job.runtime - 1e-6
        assert job.preemptions or held <= job.runtime + 1e-6
        assert job.lost_seconds == 0, "what is evicted has a notice"
        again += Conditions().restart_seconds * job.preemptions * job.tasks * trace.shape.groups[0].request.gpu_milli
    work = sum(job.shape.task_count * job.shape.groups[0].request.gpu_milli * job.runtime_seconds for job in jobs)
    held = sum(queue.held for queue in outcomes.queues)
    assert work * (1 - 1e-6) <= held <= (work + again) * (1 + 1e-6)


@given(traces)
@settings(max_examples=10, deadline=None)
def test_the_same_seed_gives_the_same_bytes(jobs):
    assert repr(run(jobs, "2xV100:4,2xV100:4:spot", STORMY)) == repr(run(jobs, "2xV100:4,2xV100:4:spot", STORMY))


@given(traces)
@settings(max_examples=10, deadline=None)
def test_what_fails_is_tried_again_and_goes_on_from_its_checkpoint(jobs):
    outcomes = run(jobs, "2xV100:4,2xV100:4:spot", STORMY)
    assert all(job.state in ("succeeded", "failed") for job in outcomes.jobs)
    for job, trace in zip(outcomes.jobs, sorted(jobs, key=lambda job: (job.arrival_seconds, job.id)), strict=True):
        tasks = trace.shape.task_count
        assert job.lost_seconds <= 100.0 * tasks * job.attempts + 1e-6, "more was lost than lies between two checkpoints"


def test_a_spot_node_that_is_taken_back_costs_no_work_and_counts_as_preemption():
    long_job = replace(jobs_of([(0, 4, 0, 20_000)])[0], checkpoint_seconds=600.0)
    outcomes = run([long_job], "1xV100:4:spot", Conditions(seed=3, spot_reclaim_seconds=3000, spot_return_seconds=100))
    (job,) = outcomes.jobs
    assert job.state == "succeeded"
    assert job.preemptions > 0
    assert job.lost_seconds == 0


def test_without_checkpoints_a_failure_loses_everything_so_far():
    job = TraceJob(1, "main", 0.0, 5000.0, one_group(1, 1000, 0), retry=RetryPolicy(attempts=50))
    outcomes = run([job], "1x4c", Conditions(seed=1, node_failure_seconds=4000, node_repair_seconds=10))
    assert outcomes.jobs[0].attempts > 1
    assert outcomes.jobs[0].lost_seconds > 0


def test_an_array_starts_no_more_than_its_limit():
    job = TraceJob(1, "main", 0.0, 100.0, one_group(1, 1000, 0), elements=10, array_limit=2)
    outcomes = run([job], "1x16c")
    assert outcomes.seconds == 500.0


def test_two_policies_meet_the_same_failures():
    node = world_from("1xV100:4").nodes[0]
    moments = [next(STORMY.outages(node)) for _ in range(2)]
    assert moments[0] == moments[1]


def test_a_job_that_never_fits_does_not_keep_the_run_from_ending():
    jobs = [*jobs_of([(0, 1, 0, 10)]), TraceJob(2, "main", 0.0, 10.0, gang_of_accelerators(64, 4))]
    outcomes = run(jobs)
    assert [job.state for job in outcomes.jobs] == ["succeeded", "queued"]
