"""Logs of other vehicles than cars with a description of their own: SAE J1939, and what a car answers by OBD-II."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.conftest import Probe

pytestmark = pytest.mark.timeout(240)


def test_a_truck_and_a_car_that_is_asked_are_understood(probe: Probe, tmp_path: Path) -> None:
    told = probe("vehicle_kinds", tmp_path / "logs")
    truck, car = told["truck"], told["car"]
    speed = truck["signals"]["speed"]
    assert (speed["count"], speed["unit"]) == (540, "m/s"), "of both control units, but for what they did not know"
    assert speed["first"] == pytest.approx(40 / 3.6)
    assert speed["most"] < 70 / 3.6
    assert truck["signals"]["EEC1.EngineSpeed"]["most"] == 1200
    assert truck["facts"]["frames_explained"] == truck["facts"]["can_frames"]
    assert car["signals"]["speed"] == {"count": 60, "first": pytest.approx(30 / 3.6), "unit": "m/s", "most": pytest.approx(59 / 3.6)}
    assert car["signals"]["OBD2.S1_PID_0C_EngineRPM"]["first"] == 0x1AF8 / 4
