"""The documentation holds what it says: tests that it names exist, links lead somewhere, commands are real."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUARANTEES = ROOT / "docs" / "concepts" / "guarantees.md"
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NAMED_FILE = re.compile(r"`((?:tests|src|docs|examples|benchmarks|tools)/[\w/.-]+\.\w+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _tests_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of headings, and those written out."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    made = {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).strip().replace(" ", "-") for heading in headings
    }
    return made | set(re.findall(r'(?:id|name)="([^"]+)"', text))


def test_every_guarantee_names_a_test_and_every_named_test_exists() -> None:
    """docs/concepts/guarantees.md"""
    bullets = re.split(r"^- ", GUARANTEES.read_text(), flags=re.MULTILINE)[1:]
    assert len(bullets) > 30
    for bullet in bullets:
        sentence = bullet.partition("\n\n")[0]
        assert NAMED_TEST.search(sentence), f"no test is named by: {sentence}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    for path, test in NAMED_TEST.findall(text):
        assert (ROOT / path).exists(), f"{_name(page)} names {path}"
        assert test in _tests_in(ROOT / path), f"{_name(page)} names {path}::{test}"
    for path in NAMED_FILE.findall(FENCE.sub("", text)):
        assert (ROOT / path).exists(), f"{_name(page)} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{_name(page)} links to {target}"
        assert not anchor or goal.suffix != ".md" or anchor in _anchors(goal), f"{_name(page)} links to {target}"


def test_every_page_can_be_reached_from_the_front_page() -> None:
    """README.md"""
    found, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in found or not page.is_relative_to(ROOT):
            continue
        found.add(page)
        for target in LINK.findall(FENCE.sub("", page.read_text())):
            goal = (page.parent / target.partition("#")[0]).resolve()
            if "://" not in target and goal.suffix == ".md" and goal.exists():
                waiting.append(goal)
    assert not [_name(page) for page in PAGES if page not in found]


def test_what_tests_and_code_say_of_pages_is_so() -> None:
    """A docstring that names a page names one that exists, with that heading."""
    wrong = []
    for source in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for path, anchor in re.findall(r"\b(docs/[\w/-]+\.md)(?:#([\w-]+))?", source.read_text()):
            if not (ROOT / path).exists() or (anchor and anchor not in _anchors(ROOT / path)):
                wrong.append(f"{_name(source)}: {path}{'#' + anchor if anchor else ''}")
    assert not wrong


def test_nothing_points_at_a_machine_of_ours() -> None:
    """Locks, code and pages hold no addresses of package indexes and no folders of one machine."""
    forbidden = re.compile("|".join(["/wor" + r"k/(main|shared|\.)", "/roo" + "t/", "index-" + "url", "files.python" + "hosted"]))
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a clone")
    wrong = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        found = forbidden.search(path.read_text(errors="ignore")) if path.is_file() and name != "Makefile" else None
        if found:
            wrong.append(f"{name}: {found.group()}")
    assert not wrong
