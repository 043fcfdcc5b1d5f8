"""What tasks and agents send can be stored, sent and shown, whatever it was."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from bushel.api.wellformed import check_json
from bushel.domain.foreign import DEPTH_LIMIT, LARGEST, clean_text, clean_value

_any_text = st.text(st.characters(codec=None, exclude_categories=()))
_any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_any_text, inner, max_size=4),
)


@given(_any_json)
def test_what_is_cleaned_is_json_that_the_api_takes(value: object) -> None:
    clean = clean_value(value)
    check_json(json.dumps(clean, allow_nan=False).encode())
    assert clean_value(clean) == clean


def test_values_cost_only_themselves() -> None:
    told = {"done": 3, "loss": float("nan"), "most": float("-inf"), "huge": 10**400, "largest": LARGEST, "text": "a\0b", "yes": True}
    assert clean_value(told) == {"done": 3, "loss": None, "most": None, "huge": None, "largest": LARGEST, "text": "a\ufffdb", "yes": True}


def test_depth_is_bounded() -> None:
    value: object = 1
    for _ in range(1000):
        value = [value]
    assert json.dumps(clean_value(value)).count("[") == DEPTH_LIMIT


def test_text_that_would_command_a_terminal_is_defused() -> None:
    assert clean_text("ok\x1b[2J\x1b]52;c;eA==\x07 \x9b1A \r\u202eevil\u2066", 100) == (
        "ok\ufffd[2J\ufffd]52;c;eA==\ufffd \ufffd1A \ufffd\ufffdevil\ufffd"
    )
    assert clean_text("two\nlines\tand 名前 é", 100) == "two\nlines\tand 名前 é"
    assert clean_text("\ud800abc", 2) == "\ufffda"
