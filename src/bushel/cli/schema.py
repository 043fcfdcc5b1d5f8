"""`bushel schema`: JSON Schemas of what you write, for editors and other programs."""

from __future__ import annotations

import argparse
import json

from bushel.cli.command import Command
from bushel.cli.session import Session


def _job(_: argparse.Namespace, session: Session) -> None:
    from bushel.spec.schema import job_schema

    session.say(json.dumps(job_schema(), indent=2))


def _pipeline(_: argparse.Namespace, session: Session) -> None:
    from bushel.spec.schema import pipeline_schema

    session.say(json.dumps(pipeline_schema(), indent=2))


VERBS = {
    "schema": {
        "job": Command("the schema of a job document", _job, output=False, connects=False),
        "pipeline": Command("the schema of a pipeline document", _pipeline, output=False, connects=False),
    }
}
