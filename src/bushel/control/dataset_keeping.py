"""Keeping house in storage places: manifests beside the parts, versions past their retention, and what nobody refers to.

Guarantees:

- The manifest of a version appears in every place that its parts lie in and that can be reached from here; a place that cannot is
  tried again, and holds up no other.
- A version goes only if its data set says so, nobody pinned it and it is not the current one.
- A part is removed only if no version and no result of a run refers to it and all of it is older than `SWEEP_AGE`: an attempt that
  writes it again makes it young. What a crash left half written goes after the same time. Nothing but `parts/` and `versions/` is
  touched.
- No transaction is open while a store is asked.
"""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bushel.control.encryption import load_key
from bushel.control.result_retention import free_results
from bushel.control.secrets import reveal
from bushel.control.storage_places import as_told
from bushel.domain.errors import BushelError
from bushel.domain.failpoints import reach
from bushel.spec.manifest import VERSION_FORMAT, manifest_name, sha256
from bushel.store import datasets, storage_places
from bushel.store.database import Database, Event, Transaction
from bushel.store.leases import Lease

SWEEP_AGE = timedelta(days=7)
SWEEP_SECONDS = 3600.0
RETENTION_SECONDS = 60.0
AGAIN_SECONDS = 30.0
"""After a place did not answer, it is left alone for so long."""

TAKING_OVER_SECONDS = 300.0
"""A transaction that read a result just before it was forgotten has by then written its own, or never will."""

MANIFESTS_A_STEP = 20
CANDIDATES_AT_ONCE = 500
_RETENTION_A_STEP = 100

log = logging.getLogger("bushel.control")

_DUE = """
    select v.id from dataset_versions v
    where v.manifest_due and v.deleted_at is null and not (v.places ?| %s::text[]) order by v.id limit %s
"""

_PAST_RETENTION = """
    select v.id, v.number, d.name as dataset, s.path as project
    from datasets d
    join scopes s on s.id = d.project_id
    join dataset_versions v on v.dataset_id = d.id and v.deleted_at is null and v.number <> d.current_number
    where (d.keep_versions is not null or d.keep_days is not null)
      and (d.keep_days is null or v.committed_at < now() - make_interval(days => d.keep_days))
      and (d.keep_versions is null or d.keep_versions <= (
          select count(*) from dataset_versions newer
          where newer.dataset_id = d.id and newer.deleted_at is null and not newer.withheld and newer.number > v.number
      ))
      and not exists (select from dataset_pins p where p.version_id = v.id)
    order by v.id limit %s
"""

_WANTED = """
    select encode(digest, 'hex') as digest from unnest(%s::bytea[]) digest
    where exists (select from dataset_version_parts p where p.digests @> array[digest])
"""

NAMED_BY_RESULTS = """
    select named as digest from unnest(%s::text[]) named
    where exists (
        select from element_results e where e.body is not null and jsonb_path_query_array(e.body, '$.outputs.*.digest') ? named
    )
"""


def start(state_folder: Path, database: Database, lease: Lease) -> Callable[[], int]:
    return Keeping(database, lease, state_folder).step


class Keeping:
    """One term of leadership."""

    def __init__(
        self,
        database: Database,
        lease: Lease,
        state_folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        age: timedelta = SWEEP_AGE,
    ) -> None:
        self._database = database
        self._lease = lease
        self._state_folder = state_folder
        self._clock = clock
        self._age = age
        self._resting: dict[int, float] = {}  # place → when to try it again
        self._sweep_at = self._retention_at = 0.0

    def step(self) -> int:
        """How many manifests were written and versions deleted; now and then places are swept too."""
        done = self._write_manifests()
        if self._clock() >= self._retention_at:
            done += self._delete_old_versions()
            if freed := free_results(self._database, self._lease):
                done += freed
                self._sweep_at = max(self._sweep_at, self._clock() + TAKING_OVER_SECONDS)
            self._retention_at = self._clock() + RETENTION_SECONDS
        if not done and self._clock() >= self._sweep_at:
            self._sweep_at = self._clock() + SWEEP_SECONDS
            self.sweep()
        return done

    # Manifests -----------------------------------------------------------------------------------------------------------

    def _write_manifests(self) -> int:
        now = self._clock()
        self._resting = {place: until for place, until in self._resting.items() if until > now}
        with self._database.transaction() as tx:
            rows = tx.all(_DUE, ([str(number) for number in self._resting], MANIFESTS_A_STEP))
        return sum(self._write_manifest(row["id"]) for row in rows)

    def _write_manifest(self, version_id: int) -> int:
        """Into each of its places that has none."""
        with self._database.transaction() as tx:
            row = datasets.versions_by_id(tx, [version_id])[version_id]
            places = storage_places.by_id(tx, [int(number) for number in row["places"]])
            content = manifest_of(tx, row, places)
        written = set(row["written_places"])
        for number, place in places.items():
            if number not in written and self._put(place, manifest_name(row), content):
                written.add(number)
        reach("dataset_keeping.after_manifest")
        with self._database.transaction() as tx:
            self._lease.require(tx)
            tx.execute(
                "update dataset_versions set written_places = %s, manifest_due = %s where id = %s",
                (sorted(written), written < set(places), version_id),
            )
        return len(written - set(row["written_places"]))

    def _put(self, place: Mapping[str, Any], name: str, content: bytes) -> bool:
        from bushel.storage.place import PlaceError, open_place  # here, so that no start pays for it

        try:
            open_place(as_told(place), self._secrets(place)).put_bytes(content, name, sha256(content))
        except (PlaceError, BushelError) as error:
            self._rest(place, error)
            return False
        return True

    # Retention -----------------------------------------------------------------------------------------------------------

    def _delete_old_versions(self) -> int:
        with self._database.transaction() as tx:
            self._lease.require(tx)
            rows = tx.all(_PAST_RETENTION, (_RETENTION_A_STEP,))
            for row in rows:
                datasets.delete_version(tx, row["id"])
                name = f"dataset/{row['project']}/{row['dataset']}"
                body = {"version": row["number"], "reason": "past its retention"}
                tx.emit(Event("dataset.version_deleted", row["project"], name, "controller/datasets", body))
        return len(rows)

    # Sweeping ------------------------------------------------------------------------------------------------------------

    def sweep(self) -> int:
        """Remove what nobody refers to, in every place that can be reached. How many parts, manifests and partial uploads."""
        with self._database.transaction() as tx:
            places = storage_places.every(tx)
        return sum(self._sweep_place(place) for place in places if place["id"] not in self._resting)

    def _sweep_place(self, row: Mapping[str, Any]) -> int:
        from bushel.storage.partial_uploads import end_abandoned
        from bushel.storage.place import PlaceError, open_place, remove_partial

        removed = 0
        try:
            told, values = as_told(row), self._secrets(row)
            place = open_place(told, values)
            if place.folder is None:
                removed += end_abandoned(told, values, self._age)
            else:
                removed += remove_partial(place.folder, self._age)
            removed += self._sweep_parts(place) + self._sweep_manifests(place)
        except (PlaceError, BushelError) as error:
            self._rest(row, error)
        if removed:
            log.info("swept place=%s removed=%d", row["name"], removed)
        return removed

    def _sweep_parts(self, place: Any) -> int:
        names = [name for name in place.folders("parts") if len(name) == 64 and set(name) <= set("0123456789abcdef")]
        removed = 0
        for first in range(0, len(names), CANDIDATES_AT_ONCE):
            unwanted = self._unwanted(names[first : first + CANDIDATES_AT_ONCE])
            for name in unwanted:
                removed += self._remove_old(place, f"parts/{name}")
        return removed

    def _unwanted(self, names: list[str]) -> list[str]:
        with self._database.transaction() as tx:
            wanted = {row["digest"] for row in tx.all(_WANTED, ([bytes.fromhex(name) for name in names],))}
            left = [name for name in names if name not in wanted]
            if left:
                rows = tx.all(NAMED_BY_RESULTS, ([f"sha256:{name}" for name in left],))
                wanted |= {row["digest"].removeprefix("sha256:") for row in rows}
        return [name for name in left if name not in wanted]

    def _remove_old(self, place: Any, folder: str) -> int:
        found = list(place.list(folder))
        horizon = datetime.now(UTC) - self._age
        if not found or any(each.changed_at > horizon for each in found):
            return 0
        reach("dataset_keeping.before_removed")
        place.remove(
            sorted((each.name for each in found), key=lambda name: not name.endswith("/part.json"))
        )  # the word that it is whole first
        return 1

    def _sweep_manifests(self, place: Any) -> int:
        """Of versions that were deleted."""
        horizon = datetime.now(UTC) - self._age
        removed = 0
        for found in place.list("versions"):
            number = found.name.removesuffix(".json.gz").rpartition("-")[2]
            if found.changed_at < horizon and number.isdecimal():
                with self._database.transaction() as tx:
                    rows = datasets.versions_by_id(tx, [int(number)])
                if all(row["deleted_at"] is not None for row in rows.values()):
                    place.remove([found.name])
                    removed += 1
        return removed

    # Both ----------------------------------------------------------------------------------------------------------------

    def _secrets(self, place: Mapping[str, Any]) -> dict[str, str]:
        names = [name for name in place["secrets"].values() if name]
        if not names:
            return {}
        with self._database.transaction() as tx:
            return reveal(tx, load_key(self._state_folder), place["scope_id"], names)

    def _rest(self, place: Mapping[str, Any], error: Exception) -> None:
        self._resting[place["id"]] = self._clock() + AGAIN_SECONDS
        log.warning("storage place=%s again_in_seconds=%g %s", place["name"], AGAIN_SECONDS, error)


def manifest_of(tx: Transaction, row: Mapping[str, Any], places: Mapping[int, Mapping[str, Any]]) -> bytes:
    """That object: the same bytes whenever it is made."""
    document = {
        "format": VERSION_FORMAT,
        **{name: row[name] for name in ("labels", "schema", "statistics")},
        "counts": {"parts": row["part_count"], "files": row["file_count"], "bytes": row["size_bytes"], "records": row["record_count"]},
        "parts": list(_listed(tx, row["id"], places)),
    }
    return gzip.compress(json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), mtime=0)


def _listed(tx: Transaction, version_id: int, places: Mapping[int, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for part in datasets.parts(tx, version_id):
        yield {
            "name": part["name"],
            "digest": part["digest"],
            "place": places[part["place_id"]]["name"],
            "files": part["files"],
            "bytes": part["size_bytes"],
            "records": part["records"],
        }
