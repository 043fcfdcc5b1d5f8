"""Every reason has a page, and the index lists it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bushel.domain.lifecycle import Reason

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "reasons"


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_has_a_page(reason: Reason) -> None:
    assert (PAGES / f"{reason}.md").read_text().startswith(f"# `{reason}`: ")
    assert f"({reason}.md)" in (PAGES / "index.md").read_text()


def test_no_page_is_about_a_reason_that_is_gone() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} - {"index"} == set(Reason)
