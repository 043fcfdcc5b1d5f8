"""`--retry` does what it says to a job that fails by itself, and leaves a file's own policy alone."""

from __future__ import annotations

from bushel.cli.job_options import merge, retrying


def test_retry_is_meant_for_failures_of_the_job_itself() -> None:
    flags = {"run": ["false"], "retry": {"attempts": 3}}
    assert "application" in retrying(dict(flags), flags)["retry"]["on"]
    assert "application" in merge({"run": "false"}, flags)["retry"]["on"]


def test_what_a_file_says_of_failures_stays() -> None:
    merged = merge({"run": "false", "retry": {"attempts": 5, "on": ["data"]}}, {"retry": {"attempts": 3}})
    assert merged["retry"] == {"attempts": 3, "on": ["data"]}
