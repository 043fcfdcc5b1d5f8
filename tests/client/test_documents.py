"""Documents out of YAML: 1.2's scalars, and every error with its line."""

from __future__ import annotations

import pytest

from bushel.client.documents import read_documents
from bushel.domain.errors import FieldProblem, InvalidDocument

JOB = """\
name: train
after: {job: prepare, on: success}
time_limit: 1:30
resources:
  gpus: 8
  cpu: 0o10
groups:
  - name: a
    cuont: 2
"""

TEN_TIMES = "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True))
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + TEN_TIMES


def test_plain_scalars_are_those_of_yaml_1_2() -> None:
    (document,) = read_documents(JOB + "y: yes\nd: 2026-01-01\nf: 1e3\nn: ~\nz: 012\n", "job.yaml")
    assert document.value["after"] == {"job": "prepare", "on": "success"}
    assert document.value["time_limit"] == "1:30"
    assert document.value["resources"]["cpu"] == 8
    assert [document.value[key] for key in "ydfnz"] == ["yes", "2026-01-01", 1000.0, None, 12]


@pytest.mark.parametrize(
    ("pointer", "code", "shown"),
    [
        ("/resources/gpus", "unknown_field", "job.yaml:5: resources.gpus: no\n  5 │   gpus: 8\n        ‾‾‾‾"),
        ("/time_limit", "invalid", "job.yaml:3: time_limit: no\n  3 │ time_limit: 1:30\n                  ‾‾‾‾"),
        ("/groups/0/cuont", "unknown_field", "job.yaml:9: groups.0.cuont: no\n  9 │     cuont: 2\n          ‾‾‾‾‾"),
        ("/resources/memory", "missing", "job.yaml:4: resources.memory: no\n  4 │ resources:\n      ‾‾‾‾‾‾‾‾‾"),
        ("", "invalid", "job.yaml:1: no\n  1 │ name: train\n"),
    ],
)
def test_a_problem_is_shown_where_it_was_written(pointer: str, code: str, shown: str) -> None:
    (document,) = read_documents(JOB, "job.yaml")
    assert document.source is not None
    assert document.source.shown(FieldProblem(pointer, "no", code)).startswith(shown)


def test_many_documents_in_one_file_each_know_their_lines() -> None:
    documents = list(read_documents("run: a\n---\n---\n# nothing\n---\nrun: b\nx: 1\n", "jobs.yaml"))
    assert [document.value["run"] for document in documents] == ["a", "b"]
    assert documents[1].source is not None
    assert documents[1].source.locate("/x", key=True)[0] == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "job.yaml:2: not YAML"),
        ("run: x\nrun: y\n", "job.yaml:2: run stands here twice"),
        ("- run: x\n", "a document is a mapping of fields"),
        ("run: !!python/object/apply:os.system [ls]\n", "not YAML"),
        ("a: &a [*a]\n", "contains itself"),
        ("a: b: c\n", "job.yaml:1: not YAML"),
        ("a: \x00\n", "not YAML"),
        ("[a]: b\n", "a field's name must be a text"),
        ("a: " + "[" * 200 + "]" * 200, "nested too deeply"),
        (BOMB, "unfolds"),
        ("a: 1\ncpu: .nan\n", "job.yaml:2: .nan is not a finite number\n  2 │ cpu: .nan\n           ‾"),
        ("cpu: -.inf\n", "job.yaml:1: -.inf is not a finite number"),
        ("cpu: 1e999\n", "job.yaml:1: 1e999 is not a finite number"),
        ("nodes: " + "9" * 5000 + "\n", "job.yaml:1: a number of 5000 digits"),
        ("nodes: 0x" + "f" * 5000 + "\n", "job.yaml:1: a number of 5002 digits"),
    ],
)
def test_what_cannot_be_a_document_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidDocument) as raised:
        list(read_documents(text, "job.yaml"))
    assert said in raised.value.problems[0].message


def test_of_a_long_line_only_what_stands_around_the_place_is_shown() -> None:
    text = "labels: {" + ", ".join(f"key-{number}: value" for number in range(5000)) + ", wrong: [1], " + "x: y, " * 3 + "z: z}\n"
    (document,) = read_documents(text.replace("x: y, x: y, x: y, ", ""), "job.yaml")
    assert document.source is not None
    message, line, mark = document.source.shown(FieldProblem("/labels/wrong", "no", "unknown_field")).split("\n")
    assert message == "job.yaml:1: labels.wrong: no"
    assert len(line) < 110
    assert line[mark.index("‾") :].startswith("wrong: [1]")
    with pytest.raises(InvalidDocument) as raised:
        list(read_documents("run: " + "[" * 5000 + "]" * 5000, "job.yaml"))
    assert len(raised.value.problems[0].message) < 300


def test_a_file_cannot_command_the_terminal() -> None:
    (document,) = read_documents('"na\\e[31mme": "\u202ey"\n', "job.yaml")
    assert document.source is not None
    shown = document.source.shown(FieldProblem("/na\x1b[31mme", "unknown \x9b2J field", "unknown_field"))
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
