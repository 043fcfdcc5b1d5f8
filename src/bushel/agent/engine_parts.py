"""What the core of an agent asks of an engine: somebody who translates, and somebody who runs.

Guarantees: nothing here does anything; an engine is whatever has these.
"""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from bushel.spec.agent import DesiredAttempt


class Maker(Protocol):
    """What translates for it."""

    def make(
        self,
        attempt: DesiredAttempt,
        *,
        ranks: Sequence[int],
        epoch: int,
        master_port: int,
        workdir: str | None,
        devices: Mapping[int, Sequence[str] | None],
    ) -> list[dict[str, Any]]: ...


class Executor(Protocol):
    """What runs tasks."""

    def start(self, request: dict[str, Any]) -> None: ...
    def stop(self, key: str, reason: str, grace_seconds: float) -> None: ...
    def remove(self, keys: Sequence[str]) -> None: ...
