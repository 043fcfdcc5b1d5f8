"""Following a kind of object: all there are, then each change as it happens.

Guarantees: after `synced` nothing is missed: a broken stream goes on where it was; when the server no longer knows that
place (410) everything is listed again, and what has gone meanwhile is told as deleted. Lists come in pages; bookmarks
keep the place fresh while nothing happens; failures are met with growing pauses. Events come from one thread.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading

from bushel.agent.executors.kubernetes.api import ApiError
from bushel.agent.sync import Pauses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from bushel.agent.executors.kubernetes.api import Api

log = logging.getLogger(__name__)

PAGE_SIZE = 500
STREAM_SECONDS = 300
_SILENT_SECONDS = STREAM_SECONDS + 30.0


class _Gone(Exception):
    """The server does not know the place any more."""


def pages(api: Api, path: str, **query: Any) -> Iterator[dict[str, Any]]:
    """The answers that make up a list.

    Raises:
        ApiError, Unreachable: as the requests do.
    """
    more = {"limit": PAGE_SIZE}
    while True:
        page = api.get(path, **query, **more)
        yield page
        token = page["metadata"].get("continue")
        if not token:
            return
        more = {"limit": PAGE_SIZE, "continue": token}


class Watch:
    """`changed` gets each object as it is now, and whether it is gone."""

    def __init__(self, api: Api, path: str, changed: Callable[[dict[str, Any], bool], None]) -> None:
        self._api = api
        self._path = path
        self._changed = changed
        self._known: dict[str, dict[str, Any]] = {}  # by uid: what tells of one that has gone
        self._stopping = threading.Event()
        self.synced = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {path}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        pauses, place = Pauses(), ""
        while not self._stopping.is_set():
            try:
                place = place or self._list()
                self.synced.set()
                for reached in self._follow(place):
                    place = reached
                    pauses.reset()
            except _Gone:
                place = ""
            except Exception as failure:
                if not isinstance(failure, (ApiError, OSError, ValueError, http.client.HTTPException)):
                    log.exception("watching %s failed by a fault of ours", self._path)
                if isinstance(failure, ApiError) and failure.status == 410:
                    place = ""
                log.warning("watching %s goes on after a pause: %s", self._path, failure)
                self._stopping.wait(pauses.next())

    def _list(self) -> str:
        found: set[str] = set()
        place = ""
        for page in pages(self._api, self._path):
            place = page["metadata"]["resourceVersion"]
            for item in page["items"]:
                found.add(item["metadata"]["uid"])
                self._tell(item, gone=False)
        for uid in self._known.keys() - found:
            self._tell(self._known[uid], gone=True)
        return place

    def _follow(self, place: str) -> Iterator[str]:
        """The place after each event."""
        lines = self._api.lines(
            self._path,
            timeout_seconds=_SILENT_SECONDS,
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=place,
            timeoutSeconds=STREAM_SECONDS,
        )
        for line in lines:
            if self._stopping.is_set():
                return
            event = json.loads(line)
            kind, item = event["type"], event["object"]
            if kind == "ERROR":
                if item.get("code") == 410:
                    raise _Gone
                raise ApiError(item.get("code", 0), item.get("reason", ""), item.get("message", "the watch failed"))
            if kind != "BOOKMARK":
                self._tell(item, gone=kind == "DELETED")
            yield item["metadata"]["resourceVersion"]

    def _tell(self, item: dict[str, Any], *, gone: bool) -> None:
        metadata = item["metadata"]
        if gone:
            self._known.pop(metadata["uid"], None)
        else:
            kept = {name: metadata[name] for name in ("uid", "name", "namespace", "labels") if name in metadata}
            self._known[metadata["uid"]] = {"metadata": kept}
        try:
            self._changed(item, gone)
        except Exception:
            log.exception("an event of %s was not understood", metadata.get("name"))
