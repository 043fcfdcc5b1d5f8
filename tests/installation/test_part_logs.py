"""What the parts print is kept, and bounded."""

from __future__ import annotations

from pathlib import Path

from bushel.installation.supervisor import LOG_BYTES, rotate


def test_a_log_that_has_grown_is_set_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    """docs/guides/install.md"""
    log = tmp_path / "api.log"
    with open(log, "a") as writer:
        writer.write("x" * (LOG_BYTES + 1))
        writer.flush()
        rotate(tmp_path)
        writer.write("after\n")
    assert log.read_text() == "after\n"
    assert (tmp_path / "api.log.1").stat().st_size == LOG_BYTES + 1


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_text("short")
    rotate(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["api.log"]
