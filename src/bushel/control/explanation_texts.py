"""The sentences of explanations: amounts with their units, counts with the right plural."""

from __future__ import annotations

from collections.abc import Mapping

from bushel.domain.ids import encode_job_id
from bushel.domain.job import PRIORITY_NAMES
from bushel.domain.resources import CPU, DISK, GPU_PREFIX, MEMORY, ResourceRequest
from bushel.domain.words import plural
from bushel.scheduling.alternatives import Alternative, Change
from bushel.scheduling.ends import Ends
from bushel.scheduling.entities import Queue, ShapeClass
from bushel.scheduling.feasibility import NodeCount, Obstacle
from bushel.scheduling.quota import GPU_OF_ANY_MODEL
from bushel.spec.explanation import PreemptionView

_BYTE_UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def amount(resource: str, value: int) -> str:
    """`4 CPUs`, `16 GiB of memory`, `8 H100`, `0.25 of a GPU`."""
    if resource == CPU:
        return f"{_thousandths(value)} {'CPU' if value == 1000 else 'CPUs'}"
    if resource == MEMORY:
        return f"{size(value)} of memory"
    if resource == DISK:
        return f"{size(value)} of disk"
    if resource == GPU_OF_ANY_MODEL or resource.startswith(GPU_PREFIX):
        return gpus(value, resource.removeprefix(GPU_PREFIX) if resource.startswith(GPU_PREFIX) else "")
    return f"{value:,} of {resource}"


def gpus(milli: int, model: str) -> str:
    if milli < 1000:
        return f"{_thousandths(milli)} of {'an' if model[:1] in tuple('AEFHILMNORSX') else 'a'} {model or 'GPU'}"
    return f"{_thousandths(milli)} {model or ('GPU' if milli == 1000 else 'GPUs')}"


def size(value: int) -> str:
    for unit, factor in _BYTE_UNITS:
        if value >= factor:
            return f"{round(value / factor, 1):,g} {unit}"
    return f"{value:,} B"


def request(asked: ResourceRequest) -> str:
    """`8 H100, 4 CPUs, 16 GiB of memory`."""
    parts = [gpus(asked.gpu_milli, " or ".join(asked.gpu_models))] if asked.gpu_milli else []
    parts += [
        amount(name, value) for name, value in ((CPU, asked.cpu_milli), (MEMORY, asked.memory_bytes), (DISK, asked.disk_bytes)) if value
    ]
    return ", ".join(parts)


def asks_for(shape: ShapeClass) -> str:
    """`2 nodes × 8 H100, 4 CPUs, 16 GiB of memory, in one rack`."""
    groups = [(f"{group.count} × " if group.count > 1 else "") + request(group.request) for group in shape.groups]
    where = shape.constraints.require
    return " and ".join(groups) + (f", in one {where}" if where and shape.task_count > 1 else "")


def duration(seconds: float) -> str:
    """`40 s`, `6 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{days} d" + (f" {hours % 24} h" if hours % 24 else "")


def obstacle(found: NodeCount) -> str:
    """`212 nodes have fewer than 8 H100 free`."""
    nodes = plural(found.nodes, "node")
    one = found.nodes == 1
    is_, has, lacks, fails = ("is", "has", "lacks", "belongs") if one else ("are", "have", "lack", "belong")
    match found.obstacle:
        case Obstacle.SITE:
            return f"{nodes} {is_} outside the {_one_or_more('site', found.detail)}"
        case Obstacle.CLUSTER:
            return f"{nodes} {is_} outside the {_one_or_more('cluster', found.detail)}"
        case Obstacle.LABEL:
            return f"{nodes} {lacks} the label {found.detail}"
        case Obstacle.NO_CONTAINERS:
            return f"{nodes} cannot run containers"
        case Obstacle.NO_PROCESSES:
            return f"{nodes} {'runs' if one else 'run'} containers only, and the job names no image"
        case Obstacle.NO_SUCH_GPU:
            return f"{nodes} {has} no {'GPU' if found.detail == 'any model' else found.detail}"
        case Obstacle.TOO_SMALL:
            return f"{nodes} {has} less than {amount(found.detail, found.needed)}, even when empty"
        case Obstacle.NO_PLACE:
            return f"{nodes} {has} no {found.detail} in {'its' if one else 'their'} topology"
        case Obstacle.NO_LEASE:
            return f"{nodes} {fails} to a cluster whose agent does not answer"
        case Obstacle.LOST:
            return f"{nodes} {is_} lost"
        case Obstacle.CORDONED:
            return f"{nodes} {is_} cordoned"
        case Obstacle.QUARANTINED:
            return f"{nodes} {is_} in quarantine"
        case Obstacle.PROBATION:
            return f"{nodes} {is_} on probation, for single tasks that may be tried again"
        case Obstacle.MAINTENANCE:
            return f"{nodes} {is_} being maintained"
        case Obstacle.FAILED_THERE:
            return f"{nodes} failed it before"
        case Obstacle.KEPT_FREE:
            return f"{nodes} {is_} kept free for a job further ahead"
        case Obstacle.BUSY:
            return f"{nodes} {has} less than {amount(found.detail, found.needed)} free"


def alternative(other: Alternative, queues: Mapping[int, Queue], names: Mapping[int, str], preempts: PreemptionView | None) -> str:
    """`at priority high (preempts 2 jobs, 14 GPU-minutes lost)`, `when train (j-17) ends, in about 12 min`."""
    trial = other.trial
    if trial.ends is not None:
        sentence = _ends(trial.ends, names)
    elif trial.queue is not None:
        sentence = _quota(trial.queue, queues[trial.queue.id])
    else:
        sentence = change(trial.change)
    if preempts is not None:
        minutes = preempts["lost_seconds"] / 60
        number, unit = (minutes, "minutes") if minutes >= 1.5 else (preempts["lost_seconds"], "seconds")
        lost = f"{number:,.0f} {preempts['lost_of']}-{unit}"
        sentence += f" (preempts {plural(preempts['jobs'], 'job')}, {lost} lost)"
    return sentence


def _ends(ends: Ends, names: Mapping[int, str]) -> str:
    name = names.get(ends.last[0])
    last = "a job of others" if name is None else f"{name} ({encode_job_id(ends.last[0])})"
    when = f"in about {duration(ends.seconds)}" if ends.seconds >= 1 else "which is due any moment"
    if len(ends.keys) == 1:
        return f"when {last} ends, {when}"
    jobs = len({job_id for job_id, _ in ends.keys})
    what = plural(jobs, "job") if jobs == len(ends.keys) else plural(len(ends.keys), "element")
    return f"when {what} have ended, the last of them {last}, {when}"


def _quota(changed: Queue, was: Queue) -> str:
    resource = next(name for name, limit in changed.quota.items() if was.quota.get(name) != limit)
    return f"if {changed.name} might hold {amount(resource, changed.quota[resource])} instead of {amount(resource, was.quota[resource])}"


def change(changed: Change) -> str:
    """`with 1 node instead of 2`."""
    was, now = changed.was, changed.now
    match changed.what:
        case "nodes":
            return f"with {plural(_whole(now), 'node')} instead of {was}"
        case "require":
            return f"preferring one {was} instead of requiring it"
        case "gpu":
            return f"with {gpus(_whole(now), '')} instead of {_thousandths(_whole(was))}"
        case "memory":
            return f"with {size(_whole(now))} of memory instead of {size(_whole(was))}"
        case "disk":
            return f"with {size(_whole(now))} of disk instead of {size(_whole(was))}"
        case "cpu":
            return f"with {amount(CPU, _whole(now))} instead of {_thousandths(_whole(was))}"
        case "gpu.model":
            return f"with {now} instead of {was}"
        case "sites":
            return f"in the site {now}"
        case "labels":
            return f"without the label {was}"
    return f"at priority {next((name for name, value in PRIORITY_NAMES.items() if value == now), now)}"


def _one_or_more(what: str, names: str) -> str:
    """`site cn`, `sites cn, us`."""
    return f"{what}{'s' if ', ' in names else ''} {names}"


def _whole(value: int | str | None) -> int:
    return value if isinstance(value, int) else 0


def _thousandths(milli: int) -> str:
    return f"{milli / 1000:,g}"
