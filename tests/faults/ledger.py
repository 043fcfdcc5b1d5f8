"""A file to which every task appends one line when it has its effect; and what must be true of it afterwards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.faults.platform import Platform

SCRIPT = 'echo "$BUSHEL_JOB_ID $BUSHEL_TASK_INDEX $BUSHEL_ATTEMPT $BUSHEL_RANK" >> {file}'
"""One write of less than a page in append mode is atomic on a local file system."""


class Ledger:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "ledger"
        self.file.touch()

    @property
    def script(self) -> str:
        return SCRIPT.format(file=self.file)

    def effects(self) -> Counter[tuple[str, int, int, int]]:
        """(job, index, attempt, rank) → how often it happened."""
        return Counter(
            (job, int(index), int(attempt), int(rank))
            for job, index, attempt, rank in (line.split() for line in self.file.read_text().splitlines())
        )


def check_invariants(platform: Platform, ledger: Ledger, acknowledged: list[str]) -> None:
    """What holds whenever every job has ended, whatever was killed on the way.

    - No acknowledged job is lost.
    - No attempt had its effect twice; no effect is of an attempt that was never recorded.
    - Each element of a succeeded job had its effect in its last attempt; any other attempt with an effect is recorded
      as ended otherwise.
    - At most one attempt of an element is live at a time, counts add up, and the events replay to the stored state.
    """
    stored = {
        row[0]: row for row in platform.query("select id, state, element_count, succeeded_count, failed_count, cancelled_count from jobs")
    }
    from bushel.domain.ids import decode_job_id, encode_job_id

    for job in acknowledged:
        assert decode_job_id(job) in stored, f"job {job} was acknowledged and is lost"

    effects = ledger.effects()
    doubled = {effect: times for effect, times in effects.items() if times > 1}
    assert not doubled, f"attempts that had their effect twice: {doubled}"

    attempts = {
        (encode_job_id(job), index, number): (state, outcome)
        for job, index, number, state, outcome in platform.query("select job_id, index, number, state, outcome from attempts")
    }
    for job, index, attempt, rank in effects:
        assert (job, index, attempt) in attempts, f"{job}.{index}.{attempt} rank {rank} ran and is not recorded"
    live = [attempt for attempt, (state, _) in attempts.items() if state != "ended"]
    assert not live, f"attempts still live after every job ended: {live[:5]}"

    succeeded = {attempt for attempt, (_, outcome) in attempts.items() if outcome == "succeeded"}
    per_element = Counter(attempt[:2] for attempt in succeeded)
    assert all(times == 1 for times in per_element.values()), (
        f"elements that succeeded twice: {[e for e, t in per_element.items() if t > 1][:5]}"
    )
    had_effect = {effect[:3] for effect in effects}
    assert succeeded <= had_effect, f"succeeded without an effect: {sorted(succeeded - had_effect)[:5]}"

    for number, state, elements, good, bad, cancelled in stored.values():
        assert state in ("succeeded", "failed", "cancelled"), f"job {encode_job_id(number)} is {state}"
        assert good + bad + cancelled == elements, f"job {encode_job_id(number)}: {good} + {bad} + {cancelled} of {elements}"

    replayed: dict[int, str] = {}
    in_order = "select job_id, kind from events where kind like 'job.%' order by job_id, (body ->> 'version')::bigint"
    for job, kind in platform.query(in_order):
        if kind == "job.changed":
            continue
        state = kind.removeprefix("job.")
        assert replayed.get(job) not in ("succeeded", "failed", "cancelled"), f"job {encode_job_id(job)} went on to {state} after its end"
        replayed[job] = state
    wrong = {encode_job_id(number): (replayed.get(number), row[1]) for number, row in stored.items() if replayed.get(number) != row[1]}
    assert not wrong, f"events replay to another state than stored: {dict(list(wrong.items())[:5])}"
