"""`bushel pipeline`: documents, runs, where these stand and what to do about it."""

from __future__ import annotations

import argparse
import os
import time

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.mistakes import Wrong
from bushel.cli.output import show_list, show_object
from bushel.cli.pipeline_views import (
    PARTITION_COLUMNS,
    PIPELINE_COLUMNS,
    RUN_COLUMNS,
    after_failure,
    change_lines,
    grid_lines,
    plan_lines,
    run_lines,
)
from bushel.cli.session import Session
from bushel.client.operations import pipelines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bushel.client.operation import Operation

WATCH_SECONDS = 1.0
ENDED = ("succeeded", "failed", "cancelled")
_EXITS = {"succeeded": exits.OK, "failed": 100, "cancelled": 103}


def _pipeline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE")


def _run_of(parser: argparse.ArgumentParser) -> None:
    _pipeline(parser)
    parser.add_argument("--run", metavar="N", type=int, help="the run of this number; the newest when left out")


# Documents -----------------------------------------------------------------------------------------------------------


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a pipeline document, or module:name of a pipeline in Python")


def _with_document(
    options: argparse.Namespace, session: Session, define: Callable[[dict[str, Any]], Operation[Any]]
) -> dict[str, Any] | None:
    """Ask with the document of the file; None when it was wrong, which has been said."""
    from bushel.cli.job_options import read_files, show_problems
    from bushel.client.pipeline_documents import of_python, upload_workdirs

    source = None
    if ":" in options.file and not os.path.exists(options.file):
        value, base = of_python(options.file), "."
    else:
        documents = read_files([options.file], kind="pipeline")
        if len(documents) != 1:
            raise Wrong(f"{options.file} holds {len(documents)} documents: a pipeline is one")
        value, source, base = documents[0].value, documents[0].source, os.path.dirname(options.file)
    try:
        upload_workdirs(session.caller, value, base, session.project, file=options.file)
        return session.call(define(value))
    except Exception as error:
        if getattr(error, "code", None) != "invalid_document":
            raise
        show_problems(session, error, [source], {}, batch=False, kind="pipeline")  # type: ignore[arg-type]
        return None


def _plan(options: argparse.Namespace, session: Session) -> int:
    plan = _with_document(options, session, lambda value: pipelines.plan(value, project=session.project))
    if plan is None:
        return exits.USAGE
    show_object(session, plan, name=lambda plan: plan["name"], lines=lambda plan: plan_lines(plan, session))
    session.next(f"bushel pipeline apply {options.file}")
    return exits.OK


def _apply(options: argparse.Namespace, session: Session) -> int:
    made = _with_document(options, session, lambda value: pipelines.apply(value, project=session.project))
    if made is None:
        return exits.USAGE
    show_object(session, made, name=lambda made: made["name"], lines=_applied)
    if not options.run_it:
        session.next(f"bushel pipeline run {made['name']}")
        return exits.OK
    return _begin(session, pipelines.run(made["name"], project=made["project"]), wait=options.wait)


def _applied(made: dict[str, Any]) -> list[str]:
    what = "is" if made["changed"] else "already is"
    return [f"{made['name']} {what} version {made['version']} in {made['project']}"]


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    parser.add_argument("--run", dest="run_it", action="store_true", help="begin a run of it")
    parser.add_argument("--wait", action="store_true", help="with --run: wait for its end, and take its exit code")


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    _pipeline(parser)
    parser.add_argument("before", metavar="VERSION", type=int, nargs="?", help="default: the one before the newest")
    parser.add_argument("after", metavar="VERSION", type=int, nargs="?", help="default: the newest")


def _diff(options: argparse.Namespace, session: Session) -> None:
    made: Any = session.call(pipelines.diff(options.pipeline, before=options.before, after=options.after, project=session.project))
    lines = [f"{options.pipeline} version {made['before']} → {made['after']}", *(change_lines(made["changes"]) or [])]
    show_object(session, made, name=lambda _: options.pipeline, lines=lambda _: lines if made["changes"] else [*lines, "  nothing differs"])


def _ls(options: argparse.Namespace, session: Session) -> None:
    if options.pipeline:
        rows = session.pages(lambda page: pipelines.runs_page(options.pipeline, project=session.project, page=page))
        listed = [row for row, _ in zip(rows, range(options.limit), strict=False)]
        show_list(session, listed, RUN_COLUMNS, name=lambda run: str(run["number"]), empty="no runs")
        return
    rows = session.pages(lambda page: pipelines.pipelines_page(project=session.project, page=page))
    listed = [row for row, _ in zip(rows, range(options.limit), strict=False)]
    show_list(session, listed, PIPELINE_COLUMNS, name=lambda row: row["name"], empty="no pipelines")


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", nargs="?", help="list its runs")
    parser.add_argument("--limit", metavar="N", type=int, default=50, help="most to list; default 50")


# Runs ----------------------------------------------------------------------------------------------------------------


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _pipeline(parser)
    parser.add_argument("--set", dest="parameters", metavar="NAME=VALUE", action="append", default=[], help="override a parameter")
    parser.add_argument("--partitions", metavar="NAMES", action="append", default=[], help="only these: names, 2026-01-*, or first..last")
    parser.add_argument("--backfill", action="store_true", help="at the priority of back-fills")
    parser.add_argument("--version", metavar="N", type=int, help="default: the newest")
    parser.add_argument("--wait", action="store_true", help="wait for its end, and take its exit code")


def _run(options: argparse.Namespace, session: Session) -> int:
    parameters = {}
    for text in options.parameters:
        name, separator, value = text.partition("=")
        if not separator:
            raise Wrong(f"--set {text}: write NAME=VALUE")
        parameters[name] = value
    begun = pipelines.run(
        options.pipeline,
        parameters=parameters,
        partitions=_names(options.partitions),
        backfill=options.backfill,
        version=options.version,
        project=session.project,
    )
    return _begin(session, begun, wait=options.wait)


def _names(texts: list[str]) -> list[str]:
    return [name for text in texts for name in text.split(",") if name]


def _begin(session: Session, operation: Operation[Any], *, wait: bool) -> int:
    run = session.call(operation)
    if wait:
        return _watch(session, run["pipeline"], run["number"], run["project"])
    show_object(session, run, name=lambda run: str(run["number"]), lines=_begun)
    session.next(f"bushel pipeline get {run['pipeline']} -w", f"bushel pipeline cancel {run['pipeline']} --run {run['number']}")
    return exits.OK


def _begun(run: dict[str, Any]) -> list[str]:
    kind = f", rerun of {run['base']}" if run["base"] else ""
    over = sum(stage["carried"] for stage in run["stages"])
    told = f"; {over:,} results stand" if over else ""
    return [f"{run['pipeline']} v{run['version']} run {run['number']}{kind} began in {run['project']}{told}"]


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    _run_of(parser)
    parser.add_argument("-w", "--watch", action="store_true", help="follow it to its end, and take its exit code")
    parser.add_argument("--document", action="store_true", help="show the document instead of the run")
    parser.add_argument("--version", metavar="N", type=int, help="with --document: this version")


def _get(options: argparse.Namespace, session: Session) -> int:
    if options.document or options.version:
        import json

        made: Any = session.call(pipelines.get_pipeline(options.pipeline, version=options.version, project=session.project))
        show_object(session, made["document"], name=lambda _: options.pipeline, lines=lambda value: [json.dumps(value, indent=2)])
        return exits.OK
    if options.watch:
        return _watch(session, options.pipeline, options.run, session.project)
    run: Any = session.call(pipelines.get_run(options.pipeline, options.run, project=session.project))
    show_object(session, run, name=lambda run: str(run["number"]), lines=lambda run: run_lines(run, session))
    if commands := after_failure(run):
        session.next(*commands)
    return exits.OK


def _watch(session: Session, pipeline: str, number: int | None, project: str | None) -> int:
    """Show the run as it changes; Ctrl-C leaves it running."""
    from bushel.cli.live import Live

    run: Any = session.call(pipelines.get_run(pipeline, number, project=project))
    try:
        with Live(session) as live:
            while run["state"] not in ENDED:
                live.show(list(run_lines(run, session)))
                time.sleep(WATCH_SECONDS)
                run = session.call(pipelines.get_run(pipeline, run["number"], project=project))
    except KeyboardInterrupt:
        session.note(f"The run goes on. To come back: bushel pipeline get {pipeline} --run {run['number']} -w")
        return exits.INTERRUPTED
    show_object(session, run, name=lambda run: str(run["number"]), lines=lambda run: run_lines(run, session))
    if commands := after_failure(run):
        session.next(*commands)
    return _EXITS[run["state"]]


def _grid_arguments(parser: argparse.ArgumentParser) -> None:
    _run_of(parser)
    parser.add_argument("--columns", metavar="N", type=int, help="most cells of a stage; default: as the terminal is wide")


def _grid(options: argparse.Namespace, session: Session) -> None:
    from bushel.cli.session import terminal_width

    columns = options.columns or max(10, (terminal_width(session.out) or 100) - 45)
    made = session.call(pipelines.grid(options.pipeline, options.run, columns=min(columns, 1000), project=session.project))
    show_object(session, made, name=lambda _: options.pipeline, lines=lambda grid: grid_lines(grid, session))


def _partitions_arguments(parser: argparse.ArgumentParser) -> None:
    _run_of(parser)
    parser.add_argument("stage", metavar="STAGE")
    parser.add_argument(
        "--state", metavar="STATE", choices=("gated", "pending", "live", "succeeded", "failed", "cancelled"), help="only those that are so"
    )
    parser.add_argument("--limit", metavar="N", type=int, default=50, help="most to list; default 50")


def _partitions(options: argparse.Namespace, session: Session) -> None:
    rows = session.pages(
        lambda page: pipelines.partitions_page(
            options.pipeline, options.run, stage=options.stage, state=options.state, project=session.project, page=page
        )
    )
    listed = [row for row, _ in zip(rows, range(options.limit), strict=False)]
    show_list(session, listed, PARTITION_COLUMNS, name=lambda row: row["partition"], empty="no such partitions")
    failed = next((row["attempt"] for row in listed if row["state"] == "failed" and row["attempt"]), None)
    if failed:
        session.next(f"bushel logs {failed}")


def _records_arguments(parser: argparse.ArgumentParser) -> None:
    _run_of(parser)
    parser.add_argument("--stage", metavar="STAGE", help="of this stage only")
    parser.add_argument("--limit", metavar="N", type=int, default=50, help="most partitions to list; default 50")


def _records(options: argparse.Namespace, session: Session) -> None:
    rows = session.pages(
        lambda page: pipelines.records_page(options.pipeline, options.run, stage=options.stage, project=session.project, page=page)
    )
    listed = [row for row, _ in zip(rows, range(options.limit), strict=False)]
    if not session.for_people:
        show_list(session, listed, (), name=lambda row: row["partition"], empty="")
        return
    if not listed:
        session.note("no records were set aside")
    for row in listed:
        session.say(f"{row['stage']} {row['partition']}: {row['bad']:,} of {row['total']:,} records set aside")
        for record in row["list"][:10]:
            session.say(f"  {record.get('record', '?')}: {record.get('error', '')}")
        if row["bad"] > 10:
            session.say(f"  and {row['bad'] - 10:,} more")


def _why_arguments(parser: argparse.ArgumentParser) -> None:
    _run_of(parser)
    parser.add_argument("stage", metavar="STAGE")
    parser.add_argument("partition", metavar="PARTITION", nargs="?", default="all", help="left out: of a stage that runs once")


def _why(options: argparse.Namespace, session: Session) -> None:
    made = session.call(
        pipelines.why(options.pipeline, options.run, stage=options.stage, partition=options.partition, project=session.project)
    )
    show_object(
        session, made, name=lambda made: made["partition"], lines=lambda made: [f"{made['stage']} {made['partition']}: {made['sentence']}"]
    )


# Changes -------------------------------------------------------------------------------------------------------------


def _rerun_arguments(parser: argparse.ArgumentParser) -> None:
    _run_of(parser)
    parser.add_argument("--failed", action="store_true", help="what has not succeeded, and nothing else; so it is when nothing is named")
    parser.add_argument(
        "--from", dest="stages", metavar="STAGE", action="append", default=[], help="this stage, and all that is made of it"
    )
    parser.add_argument("--where", metavar="CONDITION", help="what was made by such code: 'code<v2'")
    parser.add_argument("--partitions", metavar="NAMES", action="append", default=[], help="of these alone: names, 2026-01-*, first..last")
    parser.add_argument("--version", metavar="N", type=int, help="of the document; default: the newest")
    parser.add_argument("--wait", action="store_true", help="wait for its end, and take its exit code")


def _rerun(options: argparse.Namespace, session: Session) -> int:
    if options.failed and (options.stages or options.where):
        raise Wrong("--failed is what has not succeeded alone: leave out --from and --where")
    operation = pipelines.rerun(
        options.pipeline,
        options.run,
        stages=_names(options.stages),
        where=options.where,
        partitions=_names(options.partitions),
        version=options.version,
        project=session.project,
    )
    return _begin(session, operation, wait=options.wait)


def _approve_arguments(parser: argparse.ArgumentParser) -> None:
    _run_of(parser)
    parser.add_argument("--message", metavar="TEXT", required=True, help="why, for the audit and for whoever reads the run")
    parser.add_argument("--wait", action="store_true", help="wait for its end, and take its exit code")


def _approve(options: argparse.Namespace, session: Session) -> int:
    operation = pipelines.approve(options.pipeline, options.run, message=options.message, project=session.project)
    return _begin(session, operation, wait=options.wait)


def _change_arguments(parser: argparse.ArgumentParser) -> None:
    _run_of(parser)
    parser.add_argument("--all", action="store_true", help="the pipeline: all of its runs, and those to come")


def _pausing(what: str, of_run: Callable[..., Operation[Any]], of_pipeline: Callable[..., Operation[Any]]) -> Callable[..., None]:
    def change(options: argparse.Namespace, session: Session) -> None:
        if options.all:
            session.call(of_pipeline(options.pipeline, project=session.project))
            session.note(f"{options.pipeline} {what}")
            return
        run = session.call(of_run(options.pipeline, options.run, project=session.project))
        session.note(f"run {run['number']} of {options.pipeline} {what}")

    return change


def _cancel_arguments(parser: argparse.ArgumentParser) -> None:
    _run_of(parser)
    parser.add_argument("--message", metavar="TEXT", help="why, for whoever reads the run")


def _cancel(options: argparse.Namespace, session: Session) -> None:
    run = session.call(pipelines.cancel(options.pipeline, options.run, message=options.message, project=session.project))
    session.note(f"run {run['number']} of {options.pipeline} is {run['state']}")


VERBS = {
    "pipeline": {
        "plan": Command("show what applying a document would change, and what a run takes", _plan, _file),
        "apply": Command("make a document the newest version of its pipeline", _apply, _apply_arguments),
        "diff": Command("compare two versions", _diff, _diff_arguments),
        "run": Command("begin a run", _run, _run_arguments),
        "ls": Command("list pipelines, or the runs of one", _ls, _ls_arguments),
        "get": Command("show how far a run is", _get, _get_arguments),
        "grid": Command("show where the partitions of each stage are", _grid, _grid_arguments),
        "partitions": Command("list partitions of a stage", _partitions, _partitions_arguments),
        "records": Command("list records that were set aside", _records, _records_arguments),
        "rerun": Command("do a run again, in part", _rerun, _rerun_arguments),
        "approve": Command("let a run go on whatever the gates of its canary say", _approve, _approve_arguments),
        "pause": Command(
            "start no more of a run", _pausing("paused", pipelines.pause, pipelines.pause_pipeline), _change_arguments, output=False
        ),
        "resume": Command(
            "let a run go on", _pausing("goes on", pipelines.resume, pipelines.resume_pipeline), _change_arguments, output=False
        ),
        "cancel": Command("stop a run", _cancel, _cancel_arguments, output=False),
        "why-run": Command("say why a partition was done again, or why not", _why, _why_arguments),
    }
}
