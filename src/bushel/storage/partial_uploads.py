"""Uploads in pieces that were begun in a bucket and never finished: a crash leaves them, invisible and paid for.

Guarantees: only uploads below the place's prefix that began long enough ago are ended; the requests are signed with AWS Signature
Version 4 and every one has a time-out.
"""

from __future__ import annotations

import hashlib
import hmac
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from bushel.storage.place import PlaceUnavailable, s3_settings

TIMEOUT_SECONDS = 30
MOST_PAGES = 100
_ANSWER_LIMIT_BYTES = 8 * 2**20


def end_abandoned(place: Mapping[str, Any], values: Mapping[str, str], older_than: timedelta) -> int:
    """How many uploads in pieces were ended. `place` and `values` as for `open_place`.

    Raises:
        PlaceUnavailable: the bucket does not answer.
    """
    settings = s3_settings(place, values)
    if "access_key_id" not in settings:
        return 0  # reached by credentials of the machine, with which only obstore can sign
    bucket, _, prefix = place["url"].removeprefix("s3://").partition("/")
    horizon = datetime.now(UTC) - older_than
    ended = 0
    for key, upload, begun in list(_uploads(settings, bucket, f"{prefix}/" if prefix else "")):
        if begun < horizon:
            _ask(settings, "DELETE", bucket, key, {"uploadId": upload})
            ended += 1
    return ended


def _uploads(settings: Mapping[str, Any], bucket: str, prefix: str) -> Iterator[tuple[str, str, datetime]]:
    markers: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        page = ElementTree.fromstring(_ask(settings, "GET", bucket, "", {"uploads": "", "prefix": prefix, **markers}))  # noqa: S314 - the store's own
        for upload in page.iterfind("{*}Upload"):
            begun = datetime.fromisoformat(upload.findtext("{*}Initiated", "").replace("Z", "+00:00"))
            yield upload.findtext("{*}Key", ""), upload.findtext("{*}UploadId", ""), begun
        if page.findtext("{*}IsTruncated") != "true":
            return
        markers = {"key-marker": page.findtext("{*}NextKeyMarker", ""), "upload-id-marker": page.findtext("{*}NextUploadIdMarker", "")}


def _ask(settings: Mapping[str, Any], method: str, bucket: str, key: str, query: Mapping[str, str]) -> bytes:
    endpoint = settings.get("endpoint") or f"https://s3.{settings['region']}.amazonaws.com"
    path = quote(f"/{bucket}/{key}" if key else f"/{bucket}", safe="/~")
    canonical_query = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(query.items()))
    headers = _signed(settings, method, urlsplit(endpoint).netloc, path, canonical_query)
    request = urllib.request.Request(f"{endpoint}{path}?{canonical_query}", method=method, headers=headers)  # noqa: S310 - http or https by its schema
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            return answer.read(_ANSWER_LIMIT_BYTES)
    except urllib.error.HTTPError as error:
        if error.code == 404 and method == "DELETE":
            return b""
        raise PlaceUnavailable(f"{bucket}: {method} of uploads in pieces: {error.code}") from error
    except OSError as error:
        raise PlaceUnavailable(f"{bucket}: {error}") from error


def _signed(settings: Mapping[str, Any], method: str, host: str, path: str, canonical_query: str) -> dict[str, str]:
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at[:8]}/{settings['region']}/s3/aws4_request"
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": at}
    if settings.get("session_token"):
        headers["x-amz-security-token"] = settings["session_token"]
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join([method, path, canonical_query, lines, names, empty])
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{settings['secret_access_key']}".encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    authorization = f"AWS4-HMAC-SHA256 Credential={settings['access_key_id']}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers | {"authorization": authorization}
