"""`bushel events`: what happened, in the order in which it became true."""

from __future__ import annotations

import argparse
import json

from bushel.cli import exits
from bushel.cli.command import Command
from bushel.cli.session import Session
from bushel.cli.terminal import to_json, to_yaml
from bushel.cli.words import clock, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHOWN_DEFAULT = 50


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", nargs="?", help="only events of this job")
    parser.add_argument("-f", "--follow", action="store_true", help="show what happens from now on, until Ctrl-C")
    parser.add_argument("--kind", metavar="KIND", action="append", default=[], help="job.failed, or a family: job.")
    parser.add_argument("--scope", metavar="PATH", help="only events of this scope and those below it")
    parser.add_argument("--after", metavar="POSITION", help="go on behind an event that was shown with -o json")
    parser.add_argument("-n", "--limit", metavar="N", type=int, help="the last so many first; default 50, with -f none")


def _run(options: argparse.Namespace, session: Session) -> int:
    from bushel.client.operations import events

    shown = {"scope": options.scope, "job": options.job, "kinds": options.kind}
    if options.after is None:
        items, position = _last(options, session, shown)
        for event in items:
            show(event, session)
        if not items and not options.follow and session.for_people:
            session.note("nothing happened yet")
    else:
        position = options.after
    if not options.follow:
        if options.after is not None:
            for event in session.pages(lambda page: events.events_page(**shown, after=options.after, limit=1000, page=page)):
                show(event, session)
        return exits.OK
    return _follow(session, shown, position)


def _last(options: argparse.Namespace, session: Session, shown: dict[str, Any]) -> tuple[list[Any], str]:
    """The newest, in the order in which they happened, and where to go on."""
    from bushel.client.operations import events

    count = options.limit if options.limit is not None else 0 if options.follow else _SHOWN_DEFAULT
    answer = session.call(events.events_page(**shown, newest_first=True, limit=max(1, min(1000, count))))
    return (list(reversed(answer["items"])) if count else []), answer["position"]


def _follow(session: Session, shown: dict[str, Any], position: str) -> int:
    from bushel.client.http1 import TransportFailure
    from bushel.client.operations import events
    from bushel.client.streams import follow

    stream = events.watch(**shown, after=position)
    try:
        for event in follow(session.caller, stream):
            if event is None:
                continue
            if event.event == "refused":
                from bushel.client.errors import of_code

                told = json.loads(event.data)
                raise of_code(told["code"], told["message"], told.get("suggestion"))
            show(json.loads(event.data), session)
            session.out.flush()
    except TransportFailure as failure:
        session.note(f"the stream broke off: {failure}\nNext: bushel events -f --after {stream.last_event_id}")
        return exits.UNREACHABLE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    return exits.ERROR


def show(event: dict[str, Any], session: Session) -> None:
    if session.output in ("json", "jsonl"):
        session.say(to_json(event))
    elif session.output == "yaml":
        session.say("---\n" + to_yaml(event))
    elif session.output == "name":
        session.say(event["object"])
    else:
        session.say(line(event, session))


def line(event: dict[str, Any], session: Session) -> str:
    """`12:58:03  job.failed        job/k7q2m           exit code 1, by agent`."""
    body = event["body"]
    said = [plain(body["message"])] if body.get("message") else []
    if not said and body.get("reason"):
        said.append(str(body["reason"]).replace("_", " "))
    if body.get("exit_code") is not None and "exit code" not in "".join(said):
        said.append(f"exit code {body['exit_code']}")
    said.append(f"by {plain(event['actor'])}")
    if session.output == "wide":
        said.append(event["scope"])
    kind = session.paint(f"{event['kind']:<18}", *_style(event["kind"]))
    return f"{clock(event['at'])}  {kind}  {event['object']:<20}  {', '.join(said)}"


def _style(kind: str) -> tuple[str, ...]:
    if kind.endswith((".failed", ".lost")):
        return ("red",)
    return ("green",) if kind.endswith((".succeeded", ".joined")) else ()


COMMANDS = {
    "events": Command(
        "show what happened",
        _run,
        _arguments,
        description="Show what happened last, in the order in which it became true; with -f what happens from now on.",
        examples="  bushel events -f\n  bushel events -f -n 20\n  bushel events k7q2m\n  bushel events -f --kind job.failed -o json",
    )
}
