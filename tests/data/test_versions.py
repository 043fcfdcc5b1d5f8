"""docs/concepts/datasets.md#versions: whole, immutable, the same for the same content, and never half seen."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from bushel.control import dataset_lineage
from bushel.control import datasets as control
from bushel.control.dataset_parts import record_failed
from bushel.data.inputs import Elsewhere, input, upstream
from bushel.data.outputs import Output
from bushel.domain.errors import Conflict, InvalidDocument, NotFound
from bushel.storage.place import Damaged, Missing
from bushel.store import datasets
from tests.data.conftest import PROJECT, Shop, fill


def test_what_tasks_wrote_is_read_as_one_version(shop: Shop) -> None:
    shop.place("default")

    def described(out: Output) -> None:
        fill(("clips/0.tar", b"first"), ("frames.parquet", b"table"), records=10)(out)
        out.schema({"speed": "double"})
        out.column("speed", [1.0, None, 3.0])
        out.count("events", {"stop": 2})
        out.label(purpose=["training"])

    first = shop.write("drive/frames", described)
    second = shop.write("drive/frames", fill(("clips/0.tar", b"second"), records=5))
    made = shop.commit("drive/frames", {"a": first, "b": second})
    assert made["version"] == 1
    shop.keep_house()
    with shop.task(given={"frames": "drive/frames"}):
        version = input("frames")
        read = {(file.part.name, file.name): file.read() for file in version.files()}
    assert read == {("a", "clips/0.tar"): b"first", ("a", "frames.parquet"): b"table", ("b", "clips/0.tar"): b"second"}
    assert version.labels == {"purpose": ["training"]}
    with shop.database.transaction() as tx:
        row = control.selected(tx, control.dataset_in(tx, PROJECT, "drive/frames"), "latest")
    assert (row["part_count"], row["file_count"], row["record_count"]) == (2, 3, 25)
    assert row["statistics"]["columns"]["speed"] == {"count": 2, "nulls": 1, "min": 1, "max": 3, "sum": 4, "sum_squares": 10}
    assert row["statistics"]["counters"] == {"events": {"stop": 2}}


def test_the_same_content_is_the_same_version(shop: Shop) -> None:
    shop.place("default")
    one = shop.write("drive/frames", fill(("x", b"content")))
    other = shop.write("drive/frames", fill(("x", b"content")))
    assert one["digest"] == other["digest"]
    first = shop.commit("drive/frames", {"a": one}, run=1)
    changed = shop.commit("drive/frames", {"a": shop.write("drive/frames", fill(("x", b"changed")))}, run=2)
    again = shop.commit("drive/frames", {"a": other}, run=3)
    assert first == again
    assert (first["version"], changed["version"]) == (1, 2)
    with shop.database.transaction() as tx:
        assert control.selected(tx, control.dataset_in(tx, PROJECT, "drive/frames"), "latest")["number"] == 1


def test_nothing_is_there_when_the_transaction_fails(shop: Shop) -> None:
    shop.place("default")
    part = shop.write("drive/frames", fill(("x", b"content")))
    with pytest.raises(RuntimeError), shop.database.transaction() as tx:  # noqa: PT012
        shop.commit_in(tx, "drive/frames", {"a": part})
        raise RuntimeError("the leader lost its lease")
    with shop.database.transaction() as tx:
        dataset = control.dataset_in(tx, PROJECT, "drive/frames")
        assert datasets.version_page(tx, dataset["id"], 1000, 10) == []
        assert tx.all("select 1 from lineage_events") == []


def test_a_block_that_raises_leaves_no_word_of_a_part(shop: Shop) -> None:
    shop.place("default")

    def broken(out: Output) -> None:
        fill(("x", b"content"))(out)
        raise ValueError("no such frame")

    with pytest.raises(ValueError, match="no such frame"):
        shop.write("drive/frames", broken)
    assert not (shop.folder / "result.json").exists()


def test_a_version_of_thousands_of_parts_is_read_chunk_by_chunk(shop: Shop) -> None:
    shop.place("default")
    part = shop.write("drive/frames", fill(("x", b"content")))
    made = shop.commit("drive/frames", {f"p{number:05}": part for number in range(2500)})
    shop.keep_house()
    with shop.task(given={"frames": f"drive/frames@{made['digest']}"}):
        assert [part.name for part in input("frames").parts()] == [f"p{number:05}" for number in range(2500)]
    with shop.database.transaction() as tx:
        row = control.selected(tx, control.dataset_in(tx, PROJECT, "drive/frames"), "1")
        assert [part["name"] for part in datasets.parts(tx, row["id"], 1020, 10)] == [f"p{number:05}" for number in range(1020, 1030)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"digest": "sha256:zz"}, "the part a: digest: "),
        ({"records": -1}, "the part a: records: "),
        ({"statistics": {"columns": {"x": {"count": 1}}}}, "the part a: statistics.columns.x"),
        ({"place": "elsewhere"}, "is stored in default"),
        ({"surprise": 1}, "the part a: surprise: "),
    ],
)
def test_what_a_task_says_is_checked(shop: Shop, change: dict[str, object], what: str) -> None:
    shop.place("default")
    part = shop.write("drive/frames", fill(("x", b"content")))
    with pytest.raises(InvalidDocument, match=what):
        shop.commit("drive/frames", {"a": part | change})


def test_the_same_partition_of_an_earlier_stage_is_read_without_a_version(shop: Shop) -> None:
    shop.place("default")
    part = shop.write("drive/frames", fill(("x", b"content")))
    with shop.task(made={"out": "drive/clips"}):
        shop.monkeypatch.setenv("BUSHEL_UPSTREAM", json.dumps({"decode": {"frames": part}}))
        assert [file.read() for file in upstream("decode", "frames").files()] == [b"content"]


def test_verify_finds_a_flipped_byte_and_what_is_missing(shop: Shop) -> None:
    place = shop.place("default")
    part = shop.write("drive/frames", fill(("x", b"content"), ("y", b"more")))
    shop.commit("drive/frames", {"a": part})
    shop.keep_house()
    lies_at = place / "parts" / part["digest"].removeprefix("sha256:")
    (lies_at / "x").write_bytes(b"Content")
    (lies_at / "y").unlink()
    with shop.task(given={"frames": "drive/frames"}):
        first, second = input("frames").files()
        with pytest.raises(Damaged):
            first.local(verify=True)
        with pytest.raises(Damaged):
            first.read()
        with pytest.raises(Missing):
            second.local()
        (lies_at / "part.json").write_bytes(b"{}")
        with pytest.raises(Damaged):
            list(input("frames").files())


def test_data_stays_where_its_jurisdiction_is(shop: Shop) -> None:
    shop.place("disk-a", jurisdiction="A", sites=["site-a"])
    shop.place("disk-b", jurisdiction="B", sites=["site-b"])
    shop.place("public")
    shop.dataset("recordings", places=["disk-a"])
    shop.dataset("copies", places=["disk-b"])
    shop.dataset("statistics", places=["public"], released=True)
    shop.dataset("leaks", places=["public"])
    shop.commit("recordings", {"r": shop.write("recordings", fill(("r", b"raw")), site="site-a")})
    shop.keep_house()
    with shop.task(site="site-b", given={"in": "recordings"}), pytest.raises(Elsewhere, match="disk-a is bound to site-a"):
        list(input("in").files())
    with pytest.raises(Elsewhere, match="cannot be written at site-b"):
        shop.write("recordings", fill(("r", b"x")), site="site-b")
    with shop.task(site="site-a", given={"in": "recordings"}):
        assert [file.read() for file in input("in").files()] == [b"raw"]
    leak = shop.write("leaks", fill(("r", b"raw")), site="site-a")
    with pytest.raises(Conflict, match="would hold data under A in the place public, which is under no jurisdiction"):
        shop.commit("leaks", {"r": leak}, inputs=[("recordings", 1)])
    published = shop.write("statistics", fill(("s", b"counts")), site="site-a")
    made = shop.commit("statistics", {"s": published}, inputs=[("recordings", 1)])
    with shop.database.transaction() as tx:
        row = control.selected(tx, control.dataset_in(tx, PROJECT, "statistics"), str(made["version"]))
    assert row["labels"] == {"released_from": ["A"]}
    shop.keep_house()
    with shop.task(site="site-b", given={"in": "statistics"}):
        assert [file.read() for file in input("in").files()] == [b"counts"]


def test_a_version_over_two_places_is_read_at_each_as_far_as_it_lies_there(shop: Shop) -> None:
    shop.place("disk-a", jurisdiction="A", sites=["site-a"])
    shop.place("disk-b", jurisdiction="B", sites=["site-b"])
    shop.dataset("frames", places=["disk-a", "disk-b"])
    a = shop.write("frames", fill(("f", b"in a")), site="site-a")
    b = shop.write("frames", fill(("f", b"in b")), site="site-b")
    made = shop.commit("frames", {"a": a, "b": b})
    shop.keep_house()
    with shop.task(site="site-a", given={"in": "frames"}):
        assert [file.read() for file in input("in").files(here=True)] == [b"in a"]
        with pytest.raises(Elsewhere):
            list(input("in").files())
    shop.dataset("clips", places=["disk-b"])
    clip = shop.write("clips", fill(("c", b"of b")), site="site-b")
    derived = shop.commit("clips", {"b": clip}, inputs=[("frames", made["version"])])
    with shop.database.transaction() as tx:
        row = control.selected(tx, control.dataset_in(tx, PROJECT, "clips"), str(derived["version"]))
    assert row["labels"] == {"jurisdiction": ["B"]}, "what lies in A alone was not within its reach"


def test_pinned_and_current_versions_outlive_retention(shop: Shop) -> None:
    shop.place("default")
    for number in range(5):
        shop.commit("frames", {"a": shop.write("frames", fill(("x", b"%d" % number)))}, run=number)
    with shop.database.transaction() as tx:
        control.pin(tx, shop.admin, "frames", "2", "model-7", "trained on it", None)
    shop.dataset("frames", keep_versions=2)
    shop.keep_house()
    with shop.database.transaction() as tx:
        dataset = control.dataset_in(tx, PROJECT, "frames")
        assert [row["number"] for row in datasets.version_page(tx, dataset["id"], 1000, 10)] == [5, 4, 2]
        with pytest.raises(Conflict, match="pinned by model-7"):
            control.delete_version(tx, shop.admin, "frames", "2", None)
        with pytest.raises(NotFound, match="was deleted"):
            control.selected(tx, dataset, "1")


def test_the_sweep_takes_what_nobody_refers_to_and_nothing_else(shop: Shop) -> None:
    place = shop.place("default")
    kept = shop.write("frames", fill(("x", b"kept")))
    reported = shop.write("frames", fill(("x", b"of a run that goes on")))
    stale = shop.write("frames", fill(("x", b"of an attempt that was lost")))
    young = shop.write("frames", fill(("x", b"of one that goes on")))
    shop.commit("frames", {"a": kept})
    shop.keep_house()
    with shop.database.transaction() as tx:
        body = json.dumps({"outputs": {"frames": reported}})
        tx.execute("insert into element_results (job_id, index, attempt, body) values (1, 0, 1, %s)", (body,))
    (place / "parts" / "half").mkdir()
    (place / "parts" / "half" / ".x.0123~").write_bytes(b"half")
    (place / "mine.txt").write_bytes(b"not ours")
    for path in place.rglob("*"):
        if path.is_file() and young["digest"].removeprefix("sha256:") not in str(path):
            os.utime(path, (0, 0))
    assert shop.keeping(timedelta(days=7)).sweep() == 2
    left = {path.name for path in (place / "parts").iterdir()}
    assert left == {part["digest"].removeprefix("sha256:") for part in (kept, reported, young)}
    assert stale["digest"].removeprefix("sha256:") not in left
    assert (place / "mine.txt").exists()
    again = shop.write("frames", fill(("x", b"kept")))
    assert again["digest"] == kept["digest"]
    ages = {path: path.stat().st_mtime for path in (place / "parts" / again["digest"].removeprefix("sha256:")).iterdir()}
    assert all(age > 0 for age in ages.values()), "a part that is written again is young"


def test_a_place_that_cannot_be_reached_holds_up_no_other(shop: Shop) -> None:
    away: Path = shop.place("away")
    shop.place("default")
    shop.dataset("lost", places=["away"])
    shop.commit("lost", {"a": shop.write("lost", fill(("x", b"1")))})
    away.rename(shop.folder / "unplugged")
    shop.commit("frames", {"a": shop.write("frames", fill(("x", b"2")))})
    shop.keep_house()
    with shop.task(given={"in": "frames"}):
        assert len(list(input("in").files())) == 1
    (shop.folder / "unplugged").rename(away)
    shop.keep_house()
    with shop.task(given={"in": "lost"}):
        assert len(list(input("in").files())) == 1


def test_a_stage_that_failed_is_in_the_lineage_too(shop: Shop) -> None:
    by = {"pipeline": "drive", "stage": "decode", "run": 7}
    with shop.database.transaction() as tx:
        record_failed(tx, project_id=shop.project_id, project_path=PROJECT, produced_by=by, outputs=["frames"], message="2 of 9 failed")
    with shop.database.transaction() as tx:
        started, failed = (row["body"] for row in dataset_lineage.events(tx, [shop.project_id], None, 0, 10))
    assert (started["eventType"], failed["eventType"]) == ("START", "FAIL")
    assert started["run"]["runId"] == failed["run"]["runId"]
    assert failed["run"]["facets"]["errorMessage"]["message"] == "2 of 9 failed"
    assert [each["name"] for each in failed["outputs"]] == ["frames"]


def test_where_it_is_stored_is_asked_when_it_is_not_clear(shop: Shop) -> None:
    with pytest.raises(Conflict, match="it has none"):
        shop.dataset("frames")
    shop.place("one")
    shop.dataset("frames")
    shop.place("other")
    with pytest.raises(Conflict, match="it can use one, other"):
        shop.dataset("clips")
    shop.place("default")
    shop.dataset("clips")
