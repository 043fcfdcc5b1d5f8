"""What was made of what, as OpenLineage run events (specification 2-0-2).

Guarantees: pure; the run's id follows from what produced the version, so that the events of one run belong together whoever writes
them; the events of a version are written in the transaction that commits it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from bushel import __version__

PRODUCER = f"urn:bushel:{__version__}"
_SPEC = "https://openlineage.io/spec"
_RUNS = uuid.UUID("5f0c1a52-9a0e-4f6e-8f5d-3f1d3b7a6c11")
"""Namespace of the ids of runs."""


def run_events(
    project: str,
    produced_by: Mapping[str, Any],
    *,
    inputs: Sequence[Mapping[str, Any]],
    output: Mapping[str, Any],
    now: str,
) -> list[dict[str, Any]]:
    """Start and end of the run that made a version. `inputs` and `output` are rows of versions."""
    started = _event("START", project, produced_by, str(produced_by.get("started_at") or now), [_dataset(row) for row in inputs], [])
    made = _dataset(output)
    made["outputFacets"] = {
        "outputStatistics": _facet(
            "1-0-2/OutputStatisticsOutputDatasetFacet",
            rowCount=output["record_count"],
            size=output["size_bytes"],
            fileCount=output["file_count"],
        )
    }
    return [started, _event("COMPLETE", project, produced_by, now, started["inputs"], [made])]


def failed_events(project: str, produced_by: Mapping[str, Any], outputs: Sequence[str], message: str, now: str) -> list[dict[str, Any]]:
    """Start and end of a run that made nothing."""
    wanted = [{"namespace": _namespace(project), "name": name} for name in outputs]
    started = _event("START", project, produced_by, str(produced_by.get("started_at") or now), [], [])
    failed = _event("FAIL", project, produced_by, now, [], wanted)
    failed["run"]["facets"]["errorMessage"] = _facet(
        "1-0-1/ErrorMessageRunFacet", message=message or "it failed", programmingLanguage="none"
    )
    return [started, failed]


def job_name(produced_by: Mapping[str, Any]) -> str:
    """`drive.decode` of a pipeline; whoever sent it by hand otherwise."""
    parts = [str(produced_by[key]) for key in ("pipeline", "stage") if produced_by.get(key)]
    return ".".join(parts) or str(produced_by.get("job") or produced_by.get("principal") or "unknown")


def _event(
    kind: str, project: str, produced_by: Mapping[str, Any], at: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> dict[str, Any]:
    name, namespace = job_name(produced_by), _namespace(project)
    facets: dict[str, Any] = {"processing_engine": _facet("1-1-1/ProcessingEngineRunFacet", version=__version__, name="bushel")}
    if produced_by.get("pipeline"):
        parent_run = {"runId": _run_id(namespace, produced_by, ("pipeline", "run", "run_id"))}
        facets["parent"] = _facet(
            "1-1-0/ParentRunFacet", run=parent_run, job={"namespace": namespace, "name": str(produced_by["pipeline"])}
        )
    job_type = {"processingType": "BATCH", "integration": "BUSHEL", "jobType": "STAGE" if produced_by.get("stage") else "JOB"}
    return {
        "eventType": kind,
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": _run_id(namespace, produced_by), "facets": facets},
        "job": {"namespace": namespace, "name": name, "facets": {"jobType": _facet("2-0-3/JobTypeJobFacet", **job_type)}},
        "inputs": inputs,
        "outputs": outputs,
    }


def _dataset(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = [{"name": name, "type": kind} for name, kind in sorted(row["schema"].items())]
    return {
        "namespace": _namespace(row["project"]),
        "name": row["dataset"],
        "facets": {
            "version": _facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=str(row["number"])),
            "schema": _facet("1-1-1/SchemaDatasetFacet", fields=fields),
            "bushel_labels": {"_producer": PRODUCER, "_schemaURL": f"{PRODUCER}:labels", **row["labels"]},
        },
    }


def _run_id(namespace: str, produced_by: Mapping[str, Any], keys: Sequence[str] | None = None) -> str:
    names = keys or sorted(key for key in produced_by if key != "started_at")
    return str(uuid.uuid5(_RUNS, "\n".join([namespace, *(f"{key}={produced_by.get(key)}" for key in names)])))


def _namespace(project: str) -> str:
    return f"bushel/{project}"


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    path, _, name = schema.partition("/")
    return {"_producer": PRODUCER, "_schemaURL": f"{_SPEC}/facets/{path}/{name}.json#/$defs/{name}", **values}
