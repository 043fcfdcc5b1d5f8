"""Tables fit, numbers have units, and nothing that somebody else wrote moves the cursor."""

from __future__ import annotations

import argparse
import io
import json
import re
import time
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bushel.cli import words
from bushel.cli.output import Column, show_list, table
from bushel.cli.session import Session
from bushel.cli.terminal import defused_output

COLUMNS = (
    Column("ID", lambda item: item["id"]),
    Column("NAME", lambda item: item["name"], least=6),
    Column("N", lambda item: item["n"], right=True, weight=2),
    Column("NOTE", lambda item: item["note"], least=5, weight=1),
)

ITEM = st.fixed_dictionaries(
    {"id": st.text("abc", min_size=5, max_size=5), "name": st.text(max_size=60), "n": st.integers(0), "note": st.text(max_size=60)}
)
ITEMS = st.lists(ITEM, max_size=5)


def session(output: str = "table") -> Session:
    made = Session(argparse.Namespace(output=output))
    made.out = io.StringIO()
    made.err = io.StringIO()
    return made


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ITEMS, st.integers(14, 120))
def test_a_table_fits_the_terminal(items: list[dict[str, object]], columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        lines = table(session(), items, COLUMNS)
    assert len(lines) == len(items) + 1
    assert all(words.width(line) <= columns for line in lines)
    assert all(line.startswith(str(item["id"])) for line, item in zip(lines[1:], items, strict=True))


@given(st.text())
def test_what_others_wrote_stays_on_its_line(text: str) -> None:
    shown = words.plain(text)
    assert shown.isprintable()
    assert "\x1b" not in shown


HOSTILE = "ok\x1b[2J\x1b]0;title\x07\x9b1A\r\u202eevil \x1b[31mred\x1b[0m 名前"


@given(st.text() | st.text("\x1b[]0;1mAJ\x9b\n\r\x07\u202e"))
def test_nothing_that_is_said_moves_the_cursor(text: str) -> None:
    made = session()
    made.say(text)
    made.note(text)
    for shown in (made.out.getvalue(), made.err.getvalue()):  # type: ignore[attr-defined]
        left = re.sub("\x1b\\[[0-9;]*m", "", shown)
        assert all(
            letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) in ("Cf", "Cn", "Co", "Zs", "Zl", "Zp")
            for letter in left
        )
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", left)


@pytest.mark.parametrize("output", ["json", "jsonl", "yaml"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"])))
@example(HOSTILE)
def test_data_keeps_its_values_and_cannot_command_the_terminal(output: str, text: str) -> None:
    made = session(output)
    show_list(made, [{"message": text}], COLUMNS, name=str, empty="")
    shown = made.out.getvalue()  # type: ignore[attr-defined]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    document = yaml.safe_load(shown) if output == "yaml" else json.loads(shown)
    assert (document if output == "jsonl" else document["items"][0]) == {"message": text}


def test_output_of_tasks_keeps_colours_and_progress_bars_alone() -> None:
    printed = b"\x1b[1;31mred\x1b[0m\t 10%\r\x1b[K 20%\b \x1b[2J\x1b]52;c;eA==\x07\x0c \xc2\x9b1A \xe2\x80\xae \xc3\xa9 \xff"
    assert defused_output(printed) == (
        b"\x1b[1;31mred\x1b[0m\t 10%\r\x1b[K 20%\b R[2JR]52;c;eA==RR R1A R \xc3\xa9 \xff".replace(b"R", "\ufffd".encode())
    )


def test_piped_tables_are_not_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "x" * 500
    (_, line) = table(session(), [{"id": "a", "name": long, "n": 1, "note": ""}], COLUMNS)
    assert long in line


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("name", "a\nb\n"),
        ("jsonl", '{"id": "a", "name": "ä"}\n{"id": "b", "name": "ü"}\n'),
        ("yaml", "items:\n- id: a\n  name: ä\n- id: b\n  name: ü\n"),
    ],
)
def test_every_format_of_a_list(output: str, said: str) -> None:
    made = session(output)
    show_list(made, [{"id": "a", "name": "ä"}, {"id": "b", "name": "ü"}], COLUMNS, name=lambda item: item["id"], empty="none")
    assert made.out.getvalue() == said  # type: ignore[attr-defined]


def test_an_empty_list_is_empty_data_and_a_word_to_people() -> None:
    made = session()
    show_list(made, [], COLUMNS, name=str, empty="no jobs yet")
    assert (made.out.getvalue(), made.err.getvalue()) == ("", "no jobs yet\n")  # type: ignore[attr-defined]
    made = session("json")
    show_list(made, [], COLUMNS, name=str, empty="no jobs yet")
    assert json.loads(made.out.getvalue()) == {"items": []}  # type: ignore[attr-defined]


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2199, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_times_are_read_as_the_calendar_has_them(moment: datetime, offset_minutes: int) -> None:
    there = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    assert words.epoch_seconds(there.isoformat()) == pytest.approx(there.timestamp(), abs=1e-3)
    assert words.epoch_seconds(moment.isoformat() + "Z") == pytest.approx(moment.replace(tzinfo=UTC).timestamp(), abs=1e-3)


def test_words() -> None:
    assert words.plural(1, "job") == "1 job"
    assert words.plural(1000, "index", "indices") == "1,000 indices"
    durations = {0: "0 s", 0.44: "0.4 s", 12: "12 s", 192: "3 min 12 s", 7500: "2 h 5 min", 273600: "3 d 4 h"}
    assert {seconds: words.duration(seconds) for seconds in durations} == durations
    assert [words.size(count) for count in (0, 512, 1536, 31 * 2**30)] == ["0 B", "512 B", "1.5 KiB", "31 GiB"]
    assert words.amounts({"gpu/H100": 8000, "memory": 2**30, "cpu": 500}) == "0.5 cpu · 1 GiB memory · 8 H100"
    now = time.time()
    assert words.ago(datetime.fromtimestamp(now - 200, UTC).isoformat(), now) == "3 min ago"
    assert words.ago(datetime.fromtimestamp(now + 86400, UTC).isoformat(), now) == "in 1 d"
    assert words.ago(None) == "–"
    assert words.width("日本") == 4
    assert words.shorten("日本語", 4) == "日…"
