"""A project with storage places, and tasks that write to them: the control plane's functions over a real database and real folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bushel.control.bootstrap import bootstrap
from bushel.control.dataset_keeping import Keeping
from bushel.control.dataset_parts import commit_parts, resolve_input, resolve_output
from bushel.control.datasets import put
from bushel.control.storage_places import put_place
from bushel.data import inputs
from bushel.data.outputs import Output, output
from bushel.domain.permissions import Role
from bushel.domain.principal import Principal
from bushel.spec.dataset import NewPlace
from bushel.store import leases
from bushel.store.database import Database, Transaction
from tests.storage.conftest import bucket, s3_server

__all__ = ["bucket", "s3_server"]

PROJECT = "home/main/main"


@dataclass
class Shop:
    """`write` is what a task does, `commit` what the end of its stage does."""

    database: Database
    folder: Path
    project_id: int
    admin: Principal
    monkeypatch: pytest.MonkeyPatch
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def place(self, name: str, *, jurisdiction: str = "", sites: Sequence[str] = ()) -> Path:
        """A folder that is a storage place."""
        path = self.folder / name
        path.mkdir()
        document = NewPlace(url=str(path), jurisdiction=jurisdiction, sites=list(sites)).model_dump()
        with self.database.transaction() as tx:
            for site in sites:
                tx.execute("insert into sites (name, jurisdiction) values (%s, %s) on conflict do nothing", (site, jurisdiction))
            put_place(tx, self.admin, PROJECT, name, document)
        return path

    def dataset(self, name: str, **change: Any) -> None:
        with self.database.transaction() as tx:
            put(tx, self.admin, name, change, PROJECT)

    @contextmanager
    def task(self, *, site: str = "here", given: Mapping[str, str] | None = None, made: Mapping[str, str] | None = None) -> Iterator[Path]:
        """The environment of a task: `given` are inputs, `made` outputs (name → data set). Gives its result file."""
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        with self.database.transaction() as tx:
            told_in = {name: resolve_input(tx, self.admin, PROJECT, reference) for name, reference in (given or {}).items()}
            told_out = {name: resolve_output(tx, self.admin, PROJECT, dataset) for name, dataset in (made or {}).items()}
        with self.monkeypatch.context() as patch:
            patch.setenv("BUSHEL_SITE", site)
            patch.setenv("BUSHEL_INPUTS", json.dumps(told_in))
            patch.setenv("BUSHEL_OUTPUTS", json.dumps(told_out))
            patch.setenv("BUSHEL_RESULT_FILE", str(result))
            patch.setattr(inputs, "_read", {})
            patch.setattr(inputs, "MANIFEST_WAIT_SECONDS", 0.0)
            yield result

    def write(self, dataset: str, fill: Callable[[Output], None], **task: Any) -> dict[str, Any]:
        """What a task says of its part."""
        with self.task(made={"out": dataset}, **task) as result, output("out") as out:
            fill(out)
        return json.loads(result.read_text())["outputs"]["out"]

    def commit(
        self, dataset: str, parts: Mapping[str, Mapping[str, Any]], inputs: Sequence[tuple[str, int]] = (), **by: Any
    ) -> dict[str, Any]:
        with self.database.transaction() as tx:
            return self.commit_in(tx, dataset, parts, inputs, **by)

    def commit_in(self, tx: Transaction, dataset: str, parts: Mapping[str, Any], inputs: Sequence[tuple[str, int]] = (), **by: Any) -> Any:
        produced_by = {"pipeline": "drive", "pipeline_version": 1, "run": 1, "stage": "decode", **by}
        return commit_parts(
            tx,
            project_id=self.project_id,
            project_path=PROJECT,
            dataset=dataset,
            parts=list(parts.items()),
            produced_by=produced_by,
            inputs=inputs,
        )

    def keeping(self, age: timedelta = timedelta(days=7)) -> Keeping:
        with self.database.transaction() as tx:
            lease = leases.acquire(tx, "control", "test", 60)
        assert lease is not None
        return Keeping(self.database, lease, self.folder, age=age)

    def keep_house(self) -> None:
        keeping = self.keeping()
        while keeping.step():
            pass


@pytest.fixture
def shop(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    with database.transaction() as tx:
        made = bootstrap(tx)
    admin = Principal(made.admin_principal_id, "admin", "user", bindings={"home": Role.ADMIN})
    return Shop(database, tmp_path, made.project_id, admin, monkeypatch)


def fill(*files: tuple[str, bytes], records: int = 1) -> Callable[[Output], None]:
    def filled(out: Output) -> None:
        for name, content in files:
            with out.open(name, records=records) as file:
                file.write(content)

    return filled
