"""`bushel queue tree` as people see it."""

from __future__ import annotations

import argparse
import io
from typing import Any

from bushel.cli.queue_tree import lines
from bushel.cli.session import Session


def share(resource: str, **amounts: float) -> dict[str, Any]:
    return {"resource": resource, "entitled": 0, "guaranteed": 0, "used": 0, "lent": 0, "borrowed": 0} | amounts


def queue(name: str, depth: int, *shares: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"name": name, "depth": depth, "weight": 1000, "waiting": 0, "shares": list(shares), "borrows": []} | rest


TREE = {
    "items": [
        queue("acme", 0, share("gpu/H100", entitled=64, guaranteed=64, used=40)),
        queue("research", 1, share("gpu/H100", entitled=24, guaranteed=32, used=8, lent=16), share("memory")),
        queue(
            "vision",
            1,
            share("gpu/H100", entitled=40, guaranteed=16, used=32, borrowed=16),
            waiting=3,
            borrows=[{"resource": "gpu/H100", "source": "queue", "lender": "research", "amount": 16}],
        ),
    ]
}


def shown(output: str, tree: dict[str, Any] = TREE) -> list[str]:
    session = Session(argparse.Namespace(output=output))
    session.out = io.StringIO()
    return list(lines(tree, session))


def test_it_shows_the_tree_with_shares_and_then_who_borrows_from_whom() -> None:
    assert shown("table") == [
        "QUEUE       RESOURCE  ENTITLED  GUARANTEED  USED  LENT  BORROWED  WAITING",
        "acme        H100            64          64    40     –         –",
        "  research  H100            24          32     8    16         –",
        "  vision    H100            40          16    32     –        16        3",
        "",
        "vision borrows",
        "  16 H100 from research",
    ]


def test_wide_shows_what_a_queue_has_nothing_of_as_well() -> None:
    assert any("memory" in line for line in shown("wide"))
    assert shown("wide")[0].endswith("WEIGHT")


def test_wide_shows_what_a_queue_may_have_lend_and_borrow() -> None:
    bounded = share("gpu/H100", guaranteed=8, limit=16, lending=0)
    header, row = shown("wide", {"items": [queue("a", 0, bounded)]})
    assert header.split()[7:12] == ["LIMIT", "LENDS", "≤", "BORROWS", "≤"]
    assert row.split()[7:10] == ["16", "0", "–"]
