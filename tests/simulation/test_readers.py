"""Every kind of trace is known by its contents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bushel.simulation.nodes import world_from
from bushel.simulation.readers import read_traces
from bushel.simulation.trace import TraceProblem
from bushel.spec.canonical import canonical

SWF = """; Computer: none
; MaxProcs: 64
1 100 5 3600 8 -1 -1 8 7200 1024 1 3 1 7 2 -1 -1 -1
2 160 -1 -1 4 -1 -1 4 600 -1 0 4 1 7 2 -1 -1 -1
3 220 0 60 -1 -1 -1 2 -1 -1 1 3 1 8 -1 -1 -1 -1
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
pod-0,12000,16384,1,1000,,LS,Running,0,500,0
pod-1,6000,12288,1,460,V100M16|V100M32,BE,Running,100,400,150
pod-2,6000,12288,0,0,,BE,Pending,100,,
"""
GANGS = "arrival_s,model,gpus,v100_s,v100_spread_s,p100_s,k80_s,estimated\n0.0,LM,32,100.5,1,1,1,0\n7.0,ResNet,12,50,1,1,1,0\n"
ROWS = "arrival_s,queue,runtime_s,cpu,gpu,gpu_model,submitter\n10,vision,60,4,2,H100|A100,ann\n12,text,30,,,,bob\n"


def _write(folder: Path, text: str, name: str = "trace.txt") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_the_standard_workload_format(tmp_path):
    trace = read_traces([_write(tmp_path, SWF)])
    assert trace.left_out == 1
    first, last = trace.jobs
    assert (first.queue, first.submitter, first.arrival_seconds, first.runtime_seconds) == ("queue-2", "user-3", 0.0, 3600.0)
    assert first.shape.task_count == 8
    assert first.shape.groups[0].request.memory_bytes == 1024 * 1024
    assert first.declared_seconds == 7200.0
    assert last.declared_seconds is None
    assert last.arrival_seconds == 120.0


def test_pods(tmp_path):
    trace = read_traces([_write(tmp_path, PODS)])
    assert trace.left_out == 1
    whole, part = trace.jobs
    assert whole.shape.groups[0].request.gpu_milli == 1000
    assert part.shape.groups[0].request.gpu_milli == 460
    assert part.shape.groups[0].request.gpu_models == ("V100M16", "V100M32")
    assert part.runtime_seconds == 250.0


def test_gangs_are_split_into_tasks_that_fit_a_node(tmp_path):
    trace = read_traces([_write(tmp_path, GANGS, "team.csv")], per_node=8)
    shapes = [(job.shape.task_count, job.shape.groups[0].request.gpu_milli) for job in trace.jobs]
    assert shapes == [(4, 8000), (2, 6000)]
    assert {job.queue for job in trace.jobs} == {"team"}


def test_rows_of_our_own(tmp_path):
    first, second = read_traces([_write(tmp_path, ROWS)]).jobs
    assert first.shape.groups[0].request.gpu_models == ("H100", "A100")
    assert (second.queue, second.submitter, second.arrival_seconds) == ("text", "bob", 2.0)


def test_history_as_the_command_line_tells_it(tmp_path):
    spec = canonical({"name": "train", "run": "true", "resources": {"cpu": 2, "memory": "1GiB"}})
    job = {
        "metadata": {"name": "train", "queue": "main", "submitter": "ann", "submitted_at": "2026-01-01T00:00:00Z"},
        "spec": spec,
        "status": {"started_at": "2026-01-01T00:01:00Z", "ended_at": "2026-01-01T00:11:00Z"},
    }
    waiting = {**job, "status": {"started_at": None, "ended_at": None}}
    trace = read_traces([_write(tmp_path, "\n".join(json.dumps(row) for row in (job, waiting)))])
    assert trace.left_out == 1
    assert trace.jobs[0].runtime_seconds == 600.0
    assert trace.jobs[0].shape.groups[0].request.cpu_milli == 2000


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "arrival_s,runtime_s\nsoon,3\n", "", '{"metadata": {}}\n'])
def test_what_is_no_trace_is_said_to_be_none(tmp_path, text):
    with pytest.raises(TraceProblem):
        read_traces([_write(tmp_path, text)])


def test_fleets_in_words():
    world = world_from("2xV100:8,1x32c/128g,1xH100:4:spot")
    assert [node.billing for node in world.nodes] == ["on_demand"] * 3 + ["spot"]
    assert world.capacity()["gpu/V100"] == 16000
    assert world.nodes[2].capacity["cpu"] == 32000
    with pytest.raises(TraceProblem):
        world_from("many")
