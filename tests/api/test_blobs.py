"""Uploads: taken whole and verified, hostile archives refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bushel.api.settings import Settings
from bushel.domain.errors import InvalidDocument
from bushel.store import archives
from bushel.store.blobs import BlobFolder

PROJECT = "home/main/main"


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def put(client: Any, content: bytes, name: str | None = None) -> Any:
    return client.put(f"/v1/projects/{PROJECT}/blobs/{name or digest(content)}", content=content)


GOOD = archive(
    member("src", kind=tarfile.DIRTYPE),
    member("src/train.py", b"print('hello')\n" * 1000),
    member("src/deep", kind=tarfile.DIRTYPE),
    member("src/deep/link", kind=tarfile.SYMTYPE, link="../train.py"),
    member("latest", kind=tarfile.SYMTYPE, link="src/deep"),
    member("copy.py", kind=tarfile.LNKTYPE, link="src/train.py"),
    member("n" * 300 + "/" + "m" * 200, b"long"),
)


def test_a_folder_is_uploaded_once_and_then_known(app_client: Any, settings: Settings) -> None:
    where = f"/v1/projects/{PROJECT}/blobs/{digest(GOOD)}"
    assert app_client.request("HEAD", where).status_code == 404
    first = put(app_client, GOOD)
    assert first.status_code == 201, first.text
    assert first.json() == {"digest": digest(GOOD), "size_bytes": len(GOOD)}
    assert put(app_client, GOOD).status_code == 200
    assert app_client.request("HEAD", where).status_code == 200
    files = [path for path in (settings.state_folder / "blobs").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [GOOD]
    assert BlobFolder(settings.state_folder).path(int(files[0].parts[-3]), digest(GOOD)) == files[0]
    job = app_client.post("/v1/jobs", json={"run": "true", "workdir": digest(GOOD)})
    assert job.status_code == 201, job.text


def test_who_may_not_submit_may_not_upload(app_client: Any, as_principal: Callable[..., Any]) -> None:
    assert put(as_principal("viewer", "viewer", "home"), GOOD).status_code == 403
    stranger = as_principal("stranger")
    assert put(stranger, GOOD).status_code == 404
    assert stranger.request("HEAD", f"/v1/projects/{PROJECT}/blobs/{digest(GOOD)}").status_code == 404


def test_other_content_than_was_said_is_refused(app_client: Any, settings: Settings) -> None:
    assert put(app_client, GOOD, digest(b"other")).status_code == 422
    assert put(app_client, GOOD, "sha256:short").status_code == 422
    assert not [path for path in (settings.state_folder / "blobs").rglob("*") if path.is_file()], "nothing of it is kept"


HOSTILE: Iterable[tuple[str, bytes]] = {
    "absolute": archive(member("/etc/passwd", b"x")),
    "dots": archive(member("a/../../x", b"x")),
    "link to an absolute path": archive(member("a", kind=tarfile.SYMTYPE, link="/etc")),
    "link out": archive(member("d/a", kind=tarfile.SYMTYPE, link="../../x")),
    "link that leads out over another link": archive(
        member("d", kind=tarfile.SYMTYPE, link="."), member("x", kind=tarfile.SYMTYPE, link="d/../../x")
    ),
    "dots in the middle of a link": archive(
        member("d", kind=tarfile.SYMTYPE, link="."), member("x", kind=tarfile.SYMTYPE, link="d/../foo")
    ),
    "behind a link": archive(member("a", kind=tarfile.SYMTYPE, link="."), member("a/b", b"x")),
    "behind a link that comes later": archive(member("a/b", b"x"), member("a", kind=tarfile.SYMTYPE, link=".")),
    "behind a file": archive(member("a", b"x"), member("a/b", b"x")),
    "twice": archive(member("a", b"x"), member("./a", kind=tarfile.SYMTYPE, link="b")),
    "hard link to what is not there": archive(member("a", kind=tarfile.LNKTYPE, link="b")),
    "hard link out": archive(member("a", kind=tarfile.LNKTYPE, link="../b")),
    "hard link to a link": archive(member("l", kind=tarfile.SYMTYPE, link="."), member("a", kind=tarfile.LNKTYPE, link="l")),
    "device": archive(member("a", kind=tarfile.CHRTYPE)),
    "pipe": archive(member("a", kind=tarfile.FIFOTYPE)),
    "no archive": b"hello",
    "empty": b"",
    "no tar inside": gzip.compress(b"hello" * 1000),
    "cut off": GOOD[: len(GOOD) // 2],
    "damaged": GOOD[:-8] + b"\0\0\0\0" + GOOD[-4:],
}.items()


@pytest.mark.parametrize(("kind", "content"), HOSTILE, ids=lambda value: value if isinstance(value, str) else "")
def test_hostile_archives_are_refused(tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(InvalidDocument) as refusal:
        archives.check_archive(tmp_path / "archive")
    assert refusal.value.problems[0].code == "archive", kind


def test_nothing_of_a_hostile_archive_is_kept(app_client: Any, settings: Settings) -> None:
    answer = put(app_client, archive(member("../x", b"x")))
    assert answer.status_code == 422, answer.text
    assert "leads out of the folder" in answer.json()["detail"]
    assert not [path for path in (settings.state_folder / "blobs").rglob("*") if path.is_file()]


def test_bombs_are_refused(app_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_UNPACKED_BYTES", 10_000_000)
    monkeypatch.setattr(archives, "RATIO_FREE_BYTES", 1_000_000)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 50)
    assert put(app_client, archive(member("zeros", bytes(20_000_000)))).status_code == 413
    ratio = put(app_client, archive(member("zeros", bytes(5_000_000))))
    assert ratio.status_code == 413
    assert "times its size" in ratio.json()["detail"]
    assert put(app_client, archive(*(member(f"f{number}") for number in range(60)))).status_code == 413
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 5_000_000
    huge = put(app_client, gzip.compress(header.tobuf() + bytes(5_000_000)))
    assert huge.status_code == 422, "a header is not read into memory whole"


def test_a_body_past_the_limit_is_refused_with_the_limit(app_client: Any, settings: Settings) -> None:
    name = digest(b"")
    answer = app_client.request(
        "PUT", f"/v1/projects/{PROJECT}/blobs/{name}", content=b"x", headers={"Content-Length": str(settings.most_blob_bytes + 1)}
    )
    assert answer.status_code == 413
    assert str(settings.most_blob_bytes) in answer.json()["detail"]
