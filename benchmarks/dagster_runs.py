# pyright: reportMissingImports=false, reportFunctionMemberAccess=false
"""Run by Dagster's own Python: a job of one empty step, partition by partition. Prints a JSON object of seconds a partition.

Usage: dagster_runs.py FOLDER PARTITIONS RUNS PROCESS_RUNS. Runs are kept in FOLDER (SQLite), as Dagster does on one machine.
"""

from __future__ import annotations

import json
import logging
import sys
import time

from dagster import DagsterInstance, StaticPartitionsDefinition, execute_job, job, op, reconstructable

PARTITIONS = StaticPartitionsDefinition([f"p{number:04}" for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1000)])


@op
def nothing() -> None:
    pass


@job(partitions_def=PARTITIONS)
def empty() -> None:
    nothing()


def main(folder: str, _partitions: str, in_process: str, with_processes: str) -> None:
    logging.disable(logging.CRITICAL)
    names = PARTITIONS.get_partition_keys()
    with DagsterInstance.local_temp(folder) as instance:
        empty.execute_in_process(partition_key=names[-1], instance=instance)
        began, cpu = time.perf_counter(), time.process_time()
        for name in names[: int(in_process)]:
            assert empty.execute_in_process(partition_key=name, instance=instance).success
        measured = {"in_process": (time.perf_counter() - began) / int(in_process), "cpu": (time.process_time() - cpu) / int(in_process)}
        if int(with_processes):
            began = time.perf_counter()
            for _ in range(int(with_processes)):
                with execute_job(reconstructable(empty), instance=instance) as result:
                    assert result.success
            measured["with_processes"] = (time.perf_counter() - began) / int(with_processes)
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
