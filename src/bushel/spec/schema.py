"""The JSON Schema of what people write, for editors and for other programs."""

from __future__ import annotations

from functools import cache
from typing import Any

from bushel.spec.job import JOB

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def job_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the job document. Rules between fields are not in it."""
    schema = JOB.json_schema(mode="validation")
    return {"$schema": DIALECT, "title": "Bushel job", **{key: value for key, value in schema.items() if key != "title"}}
