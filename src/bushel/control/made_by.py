"""Which run and attempt did the work of a partition: its own run's, an earlier one's that it stands from, or one whose result it took over.

Guarantees: what is read follows how many partitions are asked for; of one that is taken over again and again it is the attempt that did
the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from bushel.control.result_keys import RESULTS_OF, sources
from bushel.domain.ids import attempt_id
from bushel.domain.ranges import IndexRanges
from bushel.store.database import Transaction

_RESULTS = f"select index, made_job_id, made_index {RESULTS_OF} where attempt = 0"

_MAKERS = """
    select n.job_id, n.index, a.number, p.name as pipeline, r.number as run, c.name as cluster, si.name as site
    from unnest(%s::bigint[], %s::int[]) n (job_id, index)
    join stage_jobs sj on sj.job_id = n.job_id join run_stages s on s.id = sj.stage_id
    join runs r on r.id = s.run_id join pipelines p on p.id = r.pipeline_id
    join lateral (
        select a.number, a.cluster_id from attempts a
        where a.job_id = n.job_id and a.index = n.index and a.outcome = 'succeeded' order by a.number desc limit 1
    ) a on true
    join clusters c on c.id = a.cluster_id join sites si on si.id = c.site_id
"""


def makers(tx: Transaction, stage: Mapping[str, Any], indices: IndexRanges) -> dict[int, dict[str, Any]]:
    """By index, of those of these partitions of a stage that were done elsewhere than in its own run."""
    elements: dict[int, list[tuple[int, int]]] = {}  # where it may have been done
    for jobs, some in sources(tx, stage, indices):
        own = bool(some - stage["carried"])
        for index in () if own else some:
            elements[index] = [(job, index) for job in jobs]
        for row in tx.all(_RESULTS, (jobs, some.to_postgres())):
            if row["made_job_id"] is not None:
                elements[row["index"]] = [(row["made_job_id"], row["made_index"])]
    wanted = sorted({element for some in elements.values() for element in some})
    if not wanted:
        return {}
    rows = tx.all(_MAKERS, ([job for job, _ in wanted], [index for _, index in wanted]))
    found = {(row["job_id"], row["index"]): row for row in rows}
    made = ((index, next((found[element] for element in some if element in found), None)) for index, some in elements.items())
    return {index: _told(row) for index, row in made if row is not None}


_STAGES = "select id, carried::text as carried, base_stage_id from run_stages where id = %s"

_RUN_OF_STAGE = """
    select p.name as pipeline, r.number as run from run_stages s join runs r on r.id = s.run_id join pipelines p on p.id = r.pipeline_id
    where s.id = %s
"""

_RUNS_OF_JOBS = """
    select sj.job_id, p.name as pipeline, r.number as run from stage_jobs sj join run_stages s on s.id = sj.stage_id
    join runs r on r.id = s.run_id join pipelines p on p.id = r.pipeline_id where sj.job_id = any(%s)
"""

ORIGINS_KEPT = 50
ORIGINS_SHOWN = 5


def count_origins(known: Mapping[str, int], job_ids: Iterable[int]) -> dict[str, int]:
    """With further results that were taken over from elements of these jobs; of many jobs the rarest are forgotten."""
    counted = Counter(known)
    counted.update(str(job_id) for job_id in job_ids)
    return dict(counted.most_common(ORIGINS_KEPT))


def origins(tx: Transaction, stage: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From which runs a stage has partitions that were not done in its own, and how many; the most first, a few."""
    found: Counter[tuple[str, int]] = Counter()
    current, carried = stage["base_stage_id"], stage["carried"]
    while current is not None and carried:
        row = tx.one(_STAGES, (current,))
        before = IndexRanges.from_postgres(row["carried"]) & carried
        made_in = tx.one(_RUN_OF_STAGE, (current,))
        found[made_in["pipeline"], made_in["run"]] += len(carried - before)
        current, carried = row["base_stage_id"], before
    counted = stage["samples"].get("origins", {})
    for row in tx.all(_RUNS_OF_JOBS, ([int(job) for job in counted],)) if counted else ():
        found[row["pipeline"], row["run"]] += counted[str(row["job_id"])]
    shown = [(name, count) for name, count in found.most_common(ORIGINS_SHOWN) if count]
    return [{"pipeline": pipeline, "run": run, "partitions": count} for (pipeline, run), count in shown]


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("pipeline", "run", "cluster", "site")},
        "attempt": attempt_id(row["job_id"], row["index"], row["number"]),
    }
