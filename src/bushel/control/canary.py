"""The canary of a run: its sample is done first, and the rest is begun only if every gate holds.

Guarantees:

- The sample is a function of the names of the partitions and of what the last versions have, and is settled once. What it is compared
  with is settled when the run begins.
- While the sample is not judged, nothing but the sample and what must be whole before it is opened, and no version that the run makes
  becomes current. A run whose gates do not hold has published nothing.
- It is judged in the transaction that sees the last of the sample finished; what the sample did is part of the run and not done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from math import ceil
from typing import Any

from bushel.control.canary_gates import Outcome, judge, sentence
from bushel.control.canary_measures import measure, partitions_of_versions
from bushel.control.dataset_commit import tell_published
from bushel.control.result_keys import widened
from bushel.control.run_state import NOTHING, RunState, StageState
from bushel.control.runs import matching, run_event
from bushel.domain.ranges import IndexRanges
from bushel.spec.canary import APPROVED, FAILED, PASSED, SAMPLE_LIMIT, SAMPLING
from bushel.spec.canary_stages import CanaryStages, canary_stages
from bushel.store import datasets, partitions, runs
from bushel.store.database import Transaction

NAMES_KEPT = 20
"""So many names of the sample are kept for people."""


def choose(canary: Mapping[str, Any], names: Sequence[str], candidates: IndexRanges, known: Mapping[str, int]) -> IndexRanges:
    """The sample among the candidates: those that it names, or so many, rather of those that earlier versions know.

    Of so many it is always the same: the order is that of digests of their names. Where none of those that it names is there, others
    stand for them.
    """
    if "partitions" in canary:
        named = {index for pattern in canary["partitions"] for index in matching(names, pattern)}
        found = (IndexRanges.of_indices(named) & candidates).first(SAMPLE_LIMIT)
        if found:
            return found
        wanted = len(canary["partitions"])
    else:
        wanted = canary["count"] if "count" in canary else ceil(canary["share"] * len(candidates))
    keyed = ((-known.get(names[index], 0), hashlib.sha256(names[index].encode()).digest(), index) for index in candidates)
    return IndexRanges.of_indices(index for _, _, index in nsmallest(max(1, min(wanted, SAMPLE_LIMIT)), keyed))


class Canary:
    """That of one run, as its controller holds it."""

    def __init__(self, run: RunState) -> None:
        self._run = run
        self._stages: CanaryStages = canary_stages(run.document)
        self._needed: dict[str, IndexRanges] | None = None

    @property
    def _noted(self) -> dict[str, Any]:
        return self._run.row["canary"]

    @property
    def pending(self) -> bool:
        """It is not judged, or the gates did not hold: nothing may be published."""
        return self._noted["state"] in (SAMPLING, FAILED)

    @property
    def sampling(self) -> bool:
        return self._noted["state"] == SAMPLING and self._run.live

    def keeps_open(self, stage: StageState) -> bool:
        """A stage whose sample is all there is must be judged before it is closed."""
        return self.sampling and stage.name in self._stages.sampled

    def withholds(self, stage: StageState) -> bool:
        """All of a stage is done, and what it made may still not be published."""
        return self.pending and stage.name not in self._stages.before and bool(stage.definition.get("outputs"))

    def openable(self, stage: StageState) -> IndexRanges | None:
        """What of a stage may be opened by now; None: everything."""
        if not self.sampling or stage.name in self._stages.before:
            return None
        return self._samples().get(stage.name, NOTHING)

    def step(self, tx: Transaction, actor: str) -> tuple[str, str] | None:
        """Choose the sample, or judge it, where it is time. Reason and message where the run has to stop."""
        if not self.sampling:
            return None
        if "approved" in self._noted:
            self._pass(tx, [], actor, state=APPROVED)
            return None
        first = self._run.stages[self._stages.sampled[0]]
        if first.row["set_id"] is None:
            return None
        if self._noted["sample"] is None:
            self._choose(tx, first, actor)
        if not self.sampling or not self._finished(tx):
            return None
        return self._judge(tx, actor)

    # Choosing ------------------------------------------------------------------------------------------------------------

    def _choose(self, tx: Transaction, first: StageState, actor: str) -> None:
        left_out = IndexRanges.of(part for name in self._stages.sampled for part in self._run.stages[name].row["left_out"].parts)
        candidates = IndexRanges(((0, first.count),)) - left_out if first.count else NOTHING
        if not candidates:
            self._pass(tx, [], actor)
            return
        names, _ = partitions.all_names(tx, first.row["set_id"])
        known = partitions_of_versions(tx, self._run.row["project_id"], self._noted["compared_with"])
        sample = choose(self._run.document["canary"], names, candidates, known)
        told = [names[index] for index in sample.first(NAMES_KEPT)]
        self._write(tx, sample={"indices": sample.to_postgres(), "count": len(sample), "names": told, "of": len(candidates)})
        tx.emit(run_event("run.sampling", self._run.row, actor, state="running", partitions=told, count=len(sample)))

    def _sample(self) -> IndexRanges:
        sample = self._noted["sample"]
        return IndexRanges.from_postgres(sample["indices"]) if sample else NOTHING

    def _samples(self) -> dict[str, IndexRanges]:
        """Of each sampled stage: the sample, and what windows of later stages look at."""
        if self._needed is None:
            self._needed = self._widened()
        return self._needed

    def _widened(self) -> dict[str, IndexRanges]:
        sample = self._sample()
        needed = dict.fromkeys(self._stages.sampled, sample)
        for name in reversed(self._stages.sampled) if sample else ():
            stage = self._run.stages[name]
            for edge in stage.definition["after"]:
                if edge["edge"] == "window" and edge["stage"] in needed:
                    needed[edge["stage"]] = needed[edge["stage"]] | widened(edge, needed[name], stage.count)
                elif edge["stage"] in needed:
                    needed[edge["stage"]] = needed[edge["stage"]] | needed[name]
        return needed

    def _finished(self, tx: Transaction) -> bool:
        needed = self._samples()
        stages = [self._run.stages[name] for name in self._stages.sampled]
        if any(stage.late or not stage.jobs or stage.in_flight() for stage in stages):
            return False
        return all(needed[stage.name] == self._of(tx, stage, needed[stage.name], on_end=True) for stage in stages)

    def _of(self, tx: Transaction, stage: StageState, within: IndexRanges, *, on_end: bool) -> IndexRanges:
        return runs.finished(tx, [one.job.id for one in stage.jobs], within, on_end=on_end)

    # Judging -------------------------------------------------------------------------------------------------------------

    def _judge(self, tx: Transaction, actor: str) -> tuple[str, str] | None:
        broken = next(
            (stage for name in self._stages.before if (stage := self._run.stages[name]).row["state"] in ("failed", "cancelled")), None
        )
        sample = good = self._sample()
        for name in self._stages.sampled:
            good = good & self._of(tx, self._run.stages[name], sample, on_end=False)
        if broken is not None and not good:
            self._write(tx, state=FAILED)
            return "stage_failed", broken.row["message"] or f"{broken.name} was not done"
        failed = len(sample) - len(good)
        made, counts = measure(tx, self._run, self._stages.sampled, sample, self._noted["compared_with"], failed)
        outcomes = judge(self._run.document["canary"], made, counts)
        row = self._run.row
        message = sentence(outcomes, total=self._noted["sample"]["of"] - len(sample), pipeline=row["pipeline"], run=row["number"])
        if message is None:
            self._pass(tx, outcomes, actor)
            return None
        self._write(tx, state=FAILED, outcomes=[one.told() for one in outcomes])
        return "canary_failed", message[:2000]

    def _pass(self, tx: Transaction, outcomes: Sequence[Outcome], actor: str, *, state: str = PASSED) -> None:
        """The rest may begin, and what was made before the sample is published."""
        self._write(tx, state=state, outcomes=[one.told() for one in outcomes])
        for name in self._stages.before:
            for made in (self._run.stages[name].row["outputs"] or {}).values():
                if datasets.publish(tx, self._run.row["project_id"], made["dataset"], made["version"]):
                    tell_published(tx, self._run.row["project"], made["dataset"], made["version"], actor)
        tx.emit(run_event("run.canary_passed", self._run.row, actor, state="running", gates=len(outcomes)))
        self._run.again = True

    def _write(self, tx: Transaction, **change: Any) -> None:
        noted = {**self._noted, **change}
        if noted["state"] != SAMPLING and noted["sample"]:  # which partitions they were is of no more use, and may be long
            noted["sample"] = {name: value for name, value in noted["sample"].items() if name != "indices"}
        self._run.row["canary"] = noted
        self._needed = None
        runs.write_canary(tx, self._run.row["id"], self._run.row["canary"])


def canary_of(run: RunState) -> Canary | None:
    """None where the run has none."""
    if run.canary is None and run.row["canary"] is not None:
        run.canary = Canary(run)
    return run.canary
