"""docs/concepts/datasets.md#storage: an object is whole, verified and durable, or it is not there, whatever the store does."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bushel.storage import place as module
from bushel.storage.place import Damaged, Missing, Place, PlaceError, PlaceFull, PlaceUnavailable, open_place
from tests.small_disk import needs_root, small_disk
from tests.storage.conftest import KEYS, Proxy, client, place

CONTENT = os.urandom(300_000)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    (tmp_path / "place").mkdir()
    return open_place({"name": "disk", "url": str(tmp_path / "place")})


@pytest.fixture(params=["folder", "bucket"])
def anywhere(request: pytest.FixtureRequest) -> Place:
    if request.param == "folder":
        return request.getfixturevalue("folder")
    return open_place(place(request.getfixturevalue("bucket"), request.getfixturevalue("s3_server")), KEYS)


def test_what_was_put_is_there_and_can_be_put_again(anywhere: Place, file: Path, tmp_path: Path) -> None:
    for _ in range(2):
        anywhere.put_file(file, "parts/aa/x.tar", digest(CONTENT))
        anywhere.put_bytes(b"{}", "parts/aa/part.json", digest(b"{}"))
    anywhere.check("parts/aa/x.tar", len(CONTENT), digest(CONTENT))
    anywhere.fetch("parts/aa/x.tar", tmp_path / "fetched", digest(CONTENT))
    assert (tmp_path / "fetched").read_bytes() == CONTENT
    assert sorted(found.name for found in anywhere.list("parts")) == ["parts/aa/part.json", "parts/aa/x.tar"]
    assert anywhere.folders("parts") == ["aa"]
    anywhere.remove(["parts/aa/x.tar", "parts/aa/part.json", "parts/aa/never-there"])
    assert anywhere.find("parts/aa/x.tar") is None
    with pytest.raises(Missing):
        anywhere.read("parts/aa/x.tar")


def test_another_content_under_a_name_is_found_out(anywhere: Place, file: Path, tmp_path: Path) -> None:
    anywhere.put_file(file, "parts/aa/x.tar", digest(CONTENT))
    with pytest.raises(Damaged):
        anywhere.check("parts/aa/x.tar", len(CONTENT), digest(b"other"))
    with pytest.raises(Damaged):
        anywhere.fetch("parts/aa/x.tar", tmp_path / "fetched", digest(b"other"))
    assert not (tmp_path / "fetched").exists()


def test_a_large_object_goes_in_pieces(s3_server: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ONE_REQUEST_BYTES", 1_000_000)
    monkeypatch.setattr(module, "CHUNK_BYTES", 5 * 2**20)
    content = os.urandom(11 * 2**20)
    (tmp_path / "large").write_bytes(content)
    opened = open_place(place(bucket, s3_server), KEYS)
    opened.put_file(tmp_path / "large", "parts/bb/large.tar", digest(content))
    opened.check("parts/bb/large.tar", len(content), digest(content))
    assert client(s3_server).head_object(Bucket=bucket, Key="data/parts/bb/large.tar")["ETag"].endswith('-3"')


@pytest.mark.parametrize("fault", [503, 500, "drop", "drop-after"])
def test_a_store_that_fails_for_a_while_is_asked_again(proxy: Proxy, bucket: str, file: Path, fault: object) -> None:
    proxy.fault = lambda _method, _path, number: fault if number % 3 else None
    opened = open_place(place(bucket, proxy.url), KEYS)
    opened.put_file(file, "parts/cc/x.tar", digest(CONTENT))
    opened.check("parts/cc/x.tar", len(CONTENT), digest(CONTENT))


def test_a_store_that_goes_on_failing_is_given_up(proxy: Proxy, bucket: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RETRIES", 3)
    proxy.fault = lambda method, _path, _number: 503 if method == "PUT" else None
    opened = open_place(place(bucket, proxy.url), KEYS)
    with pytest.raises(PlaceUnavailable):
        opened.put_file(file, "parts/dd/x.tar", digest(CONTENT))
    assert sum(method == "PUT" for method, _ in proxy.seen) <= 4
    assert opened.find("parts/dd/x.tar") is None


def test_a_store_that_forgets_the_condition_changes_nothing(proxy: Proxy, bucket: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.fault = lambda _method, _path, _number: "forget"
    monkeypatch.setattr(Place, "_has", lambda *_: False)  # as for one who looked before the other wrote
    opened = open_place(place(bucket, proxy.url), KEYS)
    for _ in range(2):
        opened.put_file(file, "parts/ee/x.tar", digest(CONTENT))
    opened.check("parts/ee/x.tar", len(CONTENT), digest(CONTENT))


def test_an_answer_that_is_cut_off_is_no_content(proxy: Proxy, bucket: str, file: Path, tmp_path: Path) -> None:
    opened = open_place(place(bucket, proxy.url), KEYS)
    opened.put_file(file, "parts/ff/x.tar", digest(CONTENT))
    proxy.fault = lambda method, _path, _number: "truncate" if method == "GET" else None
    with pytest.raises(PlaceError):
        opened.fetch("parts/ff/x.tar", tmp_path / "fetched", digest(CONTENT))
    assert not (tmp_path / "fetched").exists()


@needs_root
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, file: Path) -> None:
    with small_disk(tmp_path / "small", 200_000) as small:
        opened = open_place({"name": "small", "url": str(small)})
        with pytest.raises(PlaceFull):
            opened.put_file(file, "parts/aa/x.tar", digest(CONTENT))
        assert [path for path in small.rglob("*") if path.is_file()] == []


def test_a_secret_that_is_missing_is_named(bucket: str, s3_server: str) -> None:
    with pytest.raises(PlaceError, match="needs the secret S3_KEY"):
        open_place(place(bucket, s3_server), {"S3_ID": "x"})
