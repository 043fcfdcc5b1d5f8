"""The kernels are compiled for these tests; one test holds them to the plain ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bushel.scheduling.kernels.mode import using


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels() -> Iterator[None]:
    with using(compiled=True):
        yield
