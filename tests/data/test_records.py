"""docs/concepts/datasets.md#bad-records: each record is done or set aside, once, whatever a bad one does to the process."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.data import bad_records as module
from bushel.data.bad_records import TooManyBadRecords, records


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUSHEL_RESULT_FILE", str(tmp_path / "result.json"))
    monkeypatch.setattr(module, "_tally", module.Tally())


def misbehave(number: int) -> int:
    if number % 10 == 3:
        raise ValueError(f"{number} is odd")
    if number == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 25:
        os._exit(9)
    return number * 2


BAD = {3, 13, 17, 23, 25}


def test_the_bad_ones_are_set_aside_and_the_rest_is_done(tmp_path: Path) -> None:
    done = list(records(range(30), misbehave, most_bad=10))
    assert done == [(number, number * 2) for number in range(30) if number not in BAD]
    listed = json.loads((tmp_path / "result.json").read_text())["records"]
    assert (listed["total"], listed["bad"]) == (30, 5)
    errors = {entry["record"]: entry["error"] for entry in listed["list"]}
    assert set(errors) == {str(number) for number in BAD}
    assert "ValueError: 3 is odd" in errors["3"]
    assert "SIGKILL" in errors["17"]
    assert "exit code 9" in errors["25"]
    lines = (tmp_path / "bad-records.jsonl").read_text().splitlines()
    assert len(lines) == 5


def test_a_batch_that_fails_is_halved_to_the_bad_ones() -> None:
    done = list(records(range(30), lambda numbers: [misbehave(number) for number in numbers], batch=8))
    assert done == [(number, number * 2) for number in range(30) if number not in BAD]


@settings(max_examples=15, deadline=None)
@given(bad=st.sets(st.integers(0, 39), max_size=6), batch=st.integers(1, 9))
def test_every_record_is_done_or_set_aside_once(bad: set[int], batch: int) -> None:
    module._tally = module.Tally()

    def work(given: Any) -> Any:
        for number in given if batch > 1 else [given]:
            if number in bad:
                os._exit(1)
        return given

    done = [number for number, _ in records(range(40), work, batch=batch)]
    assert done == [number for number in range(40) if number not in bad]
    assert module._tally.bad == len(bad)


def test_a_record_that_never_ends_is_given_up() -> None:
    done = list(records([1, 2, 3], lambda number: time.sleep(60) if number == 2 else number, timeout_seconds=0.5))
    assert [item for item, _ in done] == [1, 3]


def test_a_record_that_takes_all_memory_is_given_up() -> None:
    done = list(records([1, 2, 3], lambda number: len(b"x" * (8 << 30)) if number == 2 else number, memory_bytes=4 << 30))
    assert [item for item, _ in done] == [1, 3]


def test_past_the_threshold_the_task_fails_with_bad_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TooManyBadRecords) as raised:
        list(records(range(30), misbehave, most_bad=2))
    assert raised.value.code == 65
    assert "3 records are bad, and at most 2 may be" in capsys.readouterr().err
    with pytest.raises(TooManyBadRecords):
        list(records(range(10), misbehave, share=0.05))
