"""Opening what is ready, as far as the limits leave room; what has been done before is taken over instead.

Guarantees: what is taken over has the very key of what would be done (`result_keys`), takes no room and no attempt, and is counted as
such; at most `BATCH` partitions of a job are looked up in one step, so that a step stays short.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from bushel.control.canary import canary_of
from bushel.control.made_by import count_origins
from bushel.control.result_keys import find_results, input_digests, key_of, may_be_shared, write_results
from bushel.control.run_state import IN_FLIGHT, RunState, StageJob, StageState
from bushel.domain.ranges import IndexRanges
from bushel.store import partitions
from bushel.store.database import Transaction

BATCH = 2048
UNLIMITED = 2**31


class _Room:
    """How many more elements may be in flight: of the pipeline, and at each of its sites."""

    def __init__(self, run: RunState) -> None:
        limits = run.document.get("limits", {})
        jobs = [(one, stage) for sibling in run.siblings for stage in sibling.stages.values() for one in stage.jobs] if limits else []
        flying = [(sum(one.job.counts[place] for place in IN_FLIGHT), one, stage) for one, stage in jobs]
        self.everywhere = limits["running"] - sum(count for count, _, _ in flying) if "running" in limits else UNLIMITED
        self._sites = {
            site: limit - sum(count for count, one, stage in flying if _may_be_at(site, one, stage))
            for site, limit in limits.get("sites", {}).items()
        }

    def left(self, one: StageJob, stage: StageState) -> int:
        sites = [room for site, room in self._sites.items() if _may_be_at(site, one, stage)]
        return max(0, min(self.everywhere, *sites, _room_of_stage(stage), UNLIMITED))

    def take(self, one: StageJob, stage: StageState, count: int) -> None:
        self.everywhere -= count
        for site in self._sites:
            if _may_be_at(site, one, stage):
                self._sites[site] -= count


def _may_be_at(site: str, one: StageJob, stage: StageState) -> bool:
    if one.site is not None:
        return one.site == site
    allowed = stage.definition.get("placement", {}).get("sites")
    return not allowed or site in allowed


def _room_of_stage(stage: StageState) -> int:
    limit = stage.definition.get("limit")
    return UNLIMITED if limit is None or len(stage.jobs) == 1 else limit - stage.in_flight()  # of one job the scheduler keeps it


def open_ready(tx: Transaction, run: RunState) -> None:
    """Later stages first: what is begun is brought to its end."""
    room = _Room(run)
    canary = canary_of(run)
    for stage in reversed(run.stages.values()):
        shared = may_be_shared(stage.definition)
        allowed = None if canary is None else canary.openable(stage)
        for one in stage.jobs:
            ready = one.ready if allowed is None else one.ready & allowed
            if not ready:
                continue
            left = room.left(one, stage)
            if not shared:
                _open(one, stage, ready.first(left), room)
                continue
            chosen = ready.first(min(left, BATCH))
            if chosen:
                done = take_over(tx, run, stage, one, chosen)
                one.ready = one.ready - done
                _open(one, stage, chosen - done, room)
                run.again = run.again or (bool(ready - chosen) and (bool(done) or len(chosen) == BATCH))


def _open(one: StageJob, stage: StageState, chosen: IndexRanges, room: _Room) -> None:
    if chosen:
        one.job.open(chosen)
        one.ready = one.ready - chosen
        room.take(one, stage, len(chosen))


def take_over(tx: Transaction, run: RunState, stage: StageState, one: StageJob, indices: IndexRanges) -> IndexRanges:
    """Finish those of `indices` that have been done before. Which."""
    keys = keys_of(tx, run, stage, indices)
    found = find_results(tx, list(keys.values()))
    rows = []
    for index, key in keys.items():
        hit = found.get(key)
        if hit is not None:
            body = None if hit["body"] is None else Jsonb(hit["body"])
            made = (hit["job_id"], hit["index"]) if hit["attempt"] else (hit["made_job_id"], hit["made_index"])
            rows.append((one.job.id, index, 0, body, hit["names"], key, hit["digest"], hit["bad_count"], *made))
    write_results(tx, rows)
    done = IndexRanges.of_indices(row[1] for row in rows)
    if done:
        one.job.close("succeeded", done)
        stage.row["cached_count"] += len(done)
        made_in = (row[-2] for row in rows if row[-2] is not None)
        stage.row["samples"]["origins"] = count_origins(stage.row["samples"].get("origins", {}), made_in)
        stage.dirty = True
    return done


def keys_of(tx: Transaction, run: RunState, stage: StageState, indices: IndexRanges) -> dict[int, bytes]:
    """The key of each of these partitions of which all that it depends on is known."""
    upstream: dict[str, tuple[Mapping[str, Any], int]] = {name: (other.row, other.count) for name, other in run.stages.items()}
    data_sets = run.row["inputs"].get(stage.name, {}).get("inputs") or {}
    set_id = stage.row["set_id"]
    names = partitions.names(tx, ((set_id, index) for index in indices))
    keys: dict[int, bytes] = {}
    for index, inputs in input_digests(tx, stage.definition, upstream, data_sets, indices):
        name, digest = names[set_id, index]
        key = key_of(run.row["project_id"], stage.definition, stage.row["parts"], name, digest, inputs)
        if key is not None:
            keys[index] = key
    return keys
