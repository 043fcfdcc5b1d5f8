"""Keeping the results of runs bounded: what partitions came to is forgotten some time after their run has ended.

Guarantees:

- A result stays for `RETENTION_DAYS` after its run ended, for as long as a run that stands on it keeps its own, and for as long as all
  that it wrote is in versions of data sets: then the work is there, and is taken over. Whoever took it over has a result of its own.
- Before the first result of a run goes it is written down that nothing may stand on that run any more.
- Each transaction looks at one chunk of one job, so that no lock is held for long; one that was cut off is done again a day later.
"""

from __future__ import annotations

import logging

from bushel.domain.failpoints import reach
from bushel.store.database import Database
from bushel.store.elements import CHUNK
from bushel.store.leases import Lease

RETENTION_DAYS = 30
RUNS_A_STEP = 5

log = logging.getLogger("bushel.control")

_PAST = """
    update runs set results_freed_at = now() where id = any(array(
        select r.id from runs r
        where r.results_left and r.ended_at < now() - make_interval(days => %s)
          and (r.results_freed_at is null or r.results_freed_at < now() - interval '1 day')
          and not exists (select from runs b where b.base_id = r.id and b.results_freed_at is null)
        order by r.ended_at limit %s for update skip locked
    ))
    returning id
"""

_UNMARK = """
    update runs set results_freed_at = null
    where id = %(run)s and exists (select from runs b where b.base_id = %(run)s and b.results_freed_at is null)
"""  # a run that was begun to stand on it just before it was marked: since then none can be

_JOBS = """
    select sj.job_id, (select max(e.index) from element_results e where e.job_id = sj.job_id) as last
    from stage_jobs sj join run_stages s on s.id = sj.stage_id where s.run_id = %s
"""

_FREE = """
    delete from element_results e
    where e.job_id = %s and e.index >= %s and e.index < %s and (
        not jsonb_path_exists(coalesce(e.body, '{}'), '$.outputs.*.digest')
        or exists (
            select from jsonb_array_elements_text(jsonb_path_query_array(e.body, '$.outputs.*.digest')) named
            where not exists (
                select from dataset_version_parts p
                where p.digests @> array[decode(substring(named from '^sha256:([0-9a-f]{64})$'), 'hex')]
            )
        )
    )
"""  # of what a task wrote there may be anything for a digest: one of another form is in no version

_SET_LEFT = """
    update runs r set results_left = exists (
        select from run_stages s join stage_jobs sj on sj.stage_id = s.id join element_results e on e.job_id = sj.job_id
        where s.run_id = r.id
    )
    where r.id = %s
"""


def free_results(database: Database, lease: Lease, *, retention_days: int = RETENTION_DAYS) -> int:
    """How many were forgotten, of the few runs that are past their retention for the longest."""
    with database.transaction() as tx:
        lease.require(tx)
        past = [row["id"] for row in tx.all(_PAST, (retention_days, RUNS_A_STEP))]
    reach("result_retention.after_runs_marked")
    return sum(free_run(database, lease, run_id) for run_id in past)


def free_run(database: Database, lease: Lease, run_id: int) -> int:
    """Forget the results of a run that is marked, unless one has come to stand on it after all."""
    with database.transaction() as tx:
        lease.require(tx)
        if tx.execute(_UNMARK, {"run": run_id}).rowcount:
            return 0
        jobs = tx.all(_JOBS, (run_id,))
    freed = 0
    for job in jobs:
        for first in range(0, (job["last"] if job["last"] is not None else -1) + 1, CHUNK):
            with database.transaction() as tx:
                lease.require(tx)
                freed += tx.execute(_FREE, (job["job_id"], first, first + CHUNK)).rowcount
            reach("result_retention.after_chunk_freed")
    with database.transaction() as tx:
        lease.require(tx)
        tx.execute(_SET_LEFT, (run_id,))
    if freed:
        log.info("run_id=%d forgot results=%d, past their retention", run_id, freed)
    return freed
