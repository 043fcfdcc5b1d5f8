"""docs/concepts/datasets.md#storage: uploads in pieces that a crash left are ended, those that go on are not."""

from __future__ import annotations

from datetime import timedelta

from bushel.storage.partial_uploads import end_abandoned
from tests.storage.conftest import KEYS, client, place


def test_abandoned_uploads_are_ended(s3_server: str, bucket: str) -> None:
    s3 = client(s3_server)
    for key in ("data/parts/aa/x y+z.tar", "elsewhere/x"):
        upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 100)
    told = place(bucket, s3_server)
    assert end_abandoned(told, KEYS, timedelta(days=20_000)) == 0
    assert end_abandoned(told, KEYS, timedelta(days=7)) == 1
    left = [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]
    assert left == ["elsewhere/x"]
