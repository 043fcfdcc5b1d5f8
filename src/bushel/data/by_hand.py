"""A version made outside of a pipeline: from a laptop, or by a job that has a token.

Guarantees: as for the parts of a task; the version is committed at the end of the block by one request with a key of its own, so an
answer that was lost is asked for again and nothing is committed twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bushel.data.outputs import Output, staged


class NewVersion:
    """A version that is being made. `result` is what was committed, once the block has ended."""

    def __init__(self, dataset: str, places: Sequence[dict[str, Any]]) -> None:
        self.dataset = dataset
        self.result: dict[str, Any] | None = None
        self.parts: list[dict[str, Any]] = []
        self._told = {"dataset": dataset, "places": list(places)}

    @contextmanager
    def part(self, name: str, *, staging: Path | str | None = None) -> Iterator[Output]:
        """One part, stored at the end of the block."""
        with staged(staging) as folder:
            made = Output(name, self._told, folder)
            yield made
            self.parts.append({"name": name, **made.store()})


@contextmanager
def new_version(dataset: str, *, inputs: Sequence[str] = (), project: str | None = None, client: Any = None) -> Iterator[NewVersion]:
    """Commit a version of a data set that is there, by your own context. `inputs` are what it was made of: `drive/recordings@3`.

    Raises:
        BushelError: it was refused, or Bushel was not reached.
    """
    if client is None:
        from bushel.client import Client

        with Client() as opened, new_version(dataset, inputs=inputs, project=project, client=opened) as made:
            yield made
        return
    made = NewVersion(dataset, client.datasets.get(dataset, project=project)["stored_in"])
    yield made
    references = [reference.partition("@") for reference in inputs]
    named = [{"dataset": name, "version": version or "latest"} for name, _, version in references]
    key = uuid.uuid4().hex
    made.result = client.datasets.commit(dataset, made.parts, inputs=named, project=project, idempotency_key=key)
