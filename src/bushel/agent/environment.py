"""What a task is told, as environment variables; the list is docs/reference/environment.md.

Guarantees: the same for every engine. Ours come last, so a job cannot pretend to be another; secrets come before them
and after the job's own.
"""

from __future__ import annotations

from bushel.agent.executors.local.survivors import MARK_VARIABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bushel.spec.agent import DesiredAttempt


def task_environment(
    attempt: DesiredAttempt,
    *,
    rank: int,
    group: str,
    site: str,
    cluster: str,
    hosts: Sequence[str],
    master_port: int,
    deadline: str,
    grace_seconds: float,
    checkpoint_folder: str,
    progress_file: str,
    result_file: str,
    partitions_file: str,
    mark: str,
    base: Mapping[str, str],
    own: Mapping[str, str],
) -> dict[str, str]:
    """`base` is the node's, `own` the job's and its group's. `hosts` has one entry for each rank."""
    context = attempt.get("context") or {}
    return {
        **base,
        **own,
        **attempt["secrets"],
        "BUSHEL_JOB_ID": attempt["id"].partition(".")[0],
        "BUSHEL_JOB_NAME": attempt["job_name"],
        "BUSHEL_ATTEMPT": str(attempt["attempt"]),
        "BUSHEL_SITE": site,
        "BUSHEL_CLUSTER": cluster,
        "BUSHEL_GROUP": group,
        "BUSHEL_TASK_INDEX": str(attempt["index"]),
        "BUSHEL_TASK_COUNT": str(attempt["element_count"]),
        "BUSHEL_RANK": str(rank),
        "BUSHEL_WORLD_SIZE": str(attempt["task_count"]),
        "BUSHEL_HOSTS": ",".join(hosts),
        "BUSHEL_MASTER_ADDRESS": hosts[0],
        "BUSHEL_MASTER_PORT": str(master_port),
        "BUSHEL_DEADLINE": deadline,
        "BUSHEL_GRACE_SECONDS": f"{grace_seconds:g}",
        "BUSHEL_CHECKPOINT_DIR": checkpoint_folder,
        "BUSHEL_RESUME_FROM": attempt["resume_from"] or "",
        "BUSHEL_PROGRESS_FILE": progress_file,
        **({**context, "BUSHEL_RESULT_FILE": result_file, "BUSHEL_PARTITIONS_FILE": partitions_file} if context else {}),
        MARK_VARIABLE: mark,
    }
