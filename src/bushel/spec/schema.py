"""The JSON Schema of what people write, for editors and for other programs."""

from __future__ import annotations

from functools import cache
from typing import Any

from bushel.spec.job import JOB

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def job_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the job document. Rules between fields are not in it."""
    schema = inlined(JOB.json_schema(mode="validation"))
    return {"$schema": DIALECT, "title": "Bushel job", **{key: value for key, value in schema.items() if key != "title"}}


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema with what it refers to written in its place, so that it can be part of another document."""
    definitions = schema.get("$defs", {})

    def write_out(part: Any) -> Any:
        if isinstance(part, list):
            return [write_out(item) for item in part]
        if not isinstance(part, dict):
            return part
        rest = {key: write_out(value) for key, value in part.items() if key not in ("$ref", "$defs")}
        if "$ref" in part:
            return {**write_out(definitions[part["$ref"].rpartition("/")[2]]), **rest}
        return rest

    return write_out(schema)


@cache
def pipeline_schema() -> dict[str, Any]:
    """As `job_schema`, of the pipeline document."""
    from bushel.spec.pipeline import PIPELINE

    schema = inlined(PIPELINE.json_schema(mode="validation"))
    return {"$schema": DIALECT, "title": "Bushel pipeline", **{key: value for key, value in schema.items() if key != "title"}}
