"""`bushel up`, `down`, `doctor`, and the clusters whose agents run on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress

from bushel.cli.command import Command
from bushel.cli.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bushel.installation import clusters
    from bushel.installation.doctor import Finding

_MARKS = {"fine": ("ok", "green"), "warning": ("warning", "yellow"), "wrong": ("wrong", "red"), "unknown": ("unknown", "dim")}


# up, down ----------------------------------------------------------------------------------------------------------


def _up_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=int, metavar="PORT", help="where the API listens; 0 takes one that is free (default 7077, or near it)"
    )
    parser.add_argument("--host", metavar="ADDRESS", help="what the API listens on (default 127.0.0.1); others need TLS")
    parser.add_argument("--tls-certificate", metavar="FILE", help="certificate chain in PEM format")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key")
    parser.add_argument("--database-url", metavar="URL", help="a PostgreSQL ≥ 15 to use instead of the embedded one")


def _up(options: argparse.Namespace, session: Session) -> None:
    from bushel.installation.home import Home
    from bushel.installation.start import Wanted, up

    home = Home.current()
    wanted = Wanted(
        host=options.host,
        port=options.port,
        tls_certificate=options.tls_certificate,
        tls_key=options.tls_key,
        database_url=options.database_url,
    )
    told: list[dict[str, str]] = []

    def tell(part: str, words: str) -> None:
        told.append({"part": part, "says": words})
        if session.for_people:
            label, _, rest = words.partition("ready")
            ready = session.paint("ready", "green") if rest else ""
            with suppress(BrokenPipeError):  # a reader that has read enough must not stop the start
                session.say(f"  {part + (' ' + label.strip() if label.strip() and rest else ''):<16} {ready + rest if rest else words}")
                session.out.flush()

    settings = up(home, wanted, tell)
    if not session.for_people:
        document = {"url": settings.url, "home": str(home.path), "admin_token_file": str(home.admin_token_file), "parts": told}
        session.say(settings.url if session.output == "name" else _render(session, document))
        return
    session.say(f"Signed in as admin. The token is in {_short(str(home.admin_token_file))}")
    session.note("Next: bushel run -- echo hello     a first job")
    session.note("      bushel submit job.yaml       see examples/")
    session.note("      bushel down                  stops the platform, not your jobs")


def _down_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stop-tasks", action="store_true", help="stop running tasks too, each with its grace")


def _down(options: argparse.Namespace, session: Session) -> int:
    from bushel.installation.home import Home
    from bushel.installation.start import down

    home = Home.current()
    stopped = down(home, stop_tasks=options.stop_tasks)
    if stopped is None:
        session.note(f"Bushel does not run in {_short(str(home.path))}.")
        return 0
    session.note(
        "Bushel has stopped." if options.stop_tasks else "Bushel has stopped. Tasks that run go on; bushel up takes them over again."
    )
    for cluster in stopped.unparked:
        session.note(
            f"The agent of {cluster} could not say farewell: its tasks stop when its lease runs out, unless bushel up comes first."
        )
    return 0


# doctor ------------------------------------------------------------------------------------------------------------


def _doctor(_: argparse.Namespace, session: Session) -> int:
    from bushel.installation.doctor import examine, summary
    from bushel.installation.home import Home

    findings: list[Finding] = []
    for finding in examine(Home.current()):
        findings.append(finding)
        if session.for_people:
            word, style = _MARKS[finding.state]
            session.say(f"  {session.paint(f'{word:<8}', style)} {finding.part:<14} {finding.message}")
            if finding.mend and finding.state != "fine":
                session.say(f"  {'':<8} {'':<14} → {finding.mend}")
            session.out.flush()
    documents = [{"part": finding.part, "state": finding.state, "message": finding.message, "mend": finding.mend} for finding in findings]
    if session.output == "jsonl":
        for document in documents:
            session.say(json.dumps(document, ensure_ascii=False))
    elif session.output == "name":
        for finding in findings:
            if finding.state != "fine":
                session.say(finding.part)
    elif not session.for_people:
        session.say(_render(session, {"findings": documents}))
    return summary(findings)


# cluster add, remove -----------------------------------------------------------------------------------------------


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--site", required=True, metavar="SITE", help="where it is; made if there is none of that name")
    parser.add_argument("--jurisdiction", default="", metavar="CODE", help="of a new site: whose law holds there, such as cn or us")
    parser.add_argument(
        "--engine", choices=("local", "kubernetes"), default="local", help="what runs its tasks (default local: this machine)"
    )
    parser.add_argument("--kubeconfig", metavar="FILE", help="of a Kubernetes cluster: how its agent reaches it")
    parser.add_argument(
        "--pod-annotation",
        action="append",
        default=[],
        metavar="KEY",
        help="label of jobs that their pods get as annotation; may be repeated",
    )
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="how many equal nodes to pose as (default 1)")
    parser.add_argument("--cpu", default="4", metavar="N", help="of each node (default 4)")
    parser.add_argument("--memory", default="8GiB", metavar="SIZE", help="of each node (default 8GiB)")
    parser.add_argument("--gpu", metavar="MODEL:N", help="of each node, such as H100:8")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="of each node; may be repeated")
    parser.add_argument(
        "--topology",
        action="append",
        default=[],
        metavar="LEVEL=PLACE,…",
        help="outermost first: rack=r1,r2 spreads the nodes over two racks",
    )


def _add(options: argparse.Namespace, session: Session) -> None:
    from bushel.installation import clusters
    from bushel.installation.home import Home

    home = Home.current()
    settings = home.settings()
    if options.engine == "kubernetes":
        if not options.kubeconfig:
            raise ValueError("--engine kubernetes needs --kubeconfig FILE: how its agent reaches the cluster")
        joined = clusters.Kubernetes(options.kubeconfig, options.pod_annotation)
        clusters.add(home, settings, options.name, options.site, jurisdiction=options.jurisdiction, kubernetes=joined)
    else:
        pose = _pose(options)
        clusters.add(home, settings, options.name, options.site, jurisdiction=options.jurisdiction, pose=pose)
    session.note(f"  agent            {clusters.await_ready(home, settings, options.name)}")
    session.next(f"bushel submit --cluster {options.name} -- hostname", "bushel node ls", f"bushel cluster remove {options.name}")


def _pose(options: argparse.Namespace) -> clusters.Pose:
    """The equal nodes that a machine claims to be."""
    from bushel.installation import clusters
    from bushel.spec.quantities import cpu_milli, gpu_request, size_bytes

    gpu = None
    if options.gpu:
        request = gpu_request(options.gpu)
        models = request.get("model") or []
        model = models if isinstance(models, str) else models[0] if models else None
        if model is None:
            raise ValueError("--gpu needs a model, such as H100:8")
        gpu = (model, int(request.get("count", 1) * 1000))
    if options.nodes < 1:
        raise ValueError("--nodes must be at least 1")
    return clusters.Pose(
        nodes=options.nodes,
        cpu_milli=cpu_milli(options.cpu),
        memory_bytes=size_bytes(options.memory),
        gpu=gpu,
        labels=dict(_pair(text, "--label") for text in options.label),
        topology={level: places.split(",") for level, places in (_pair(text, "--topology") for text in options.topology)},
    )


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")


def _remove(options: argparse.Namespace, session: Session) -> None:
    from bushel.installation import clusters
    from bushel.installation.home import Home

    home = Home.current()
    clusters.remove(home, home.settings(), options.name)
    session.note(f"Cluster {options.name} is gone; its history stays.")


# Words -------------------------------------------------------------------------------------------------------------


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"{option} {text}: must look like name=value")
    return name, value


def _render(session: Session, document: object) -> str:
    from bushel.cli.terminal import to_yaml

    return (
        to_yaml(document)
        if session.output == "yaml"
        else json.dumps(document, indent=2 if session.output == "json" else None, ensure_ascii=False)
    )


def _short(path: str) -> str:
    """`~/.bushel` for people."""
    import os

    own = os.path.expanduser("~")
    return "~" + path[len(own) :] if path.startswith(own + "/") and sys.stdout.isatty() else path


COMMANDS = {
    "up": Command(
        "Start Bushel on this machine",
        _up,
        _up_arguments,
        description="Start Bushel on this machine, or see that it runs. Everything it keeps lies under BUSHEL_HOME.",
        examples="  bushel up\n  BUSHEL_HOME=/tmp/try bushel up\n  bushel up --host 0.0.0.0 --tls-certificate cert.pem --tls-key key.pem",
        connects=False,
    ),
    "down": Command("Stop Bushel on this machine; running tasks go on", _down, _down_arguments, output=False, connects=False),
    "doctor": Command("Check each part and say how to mend it", _doctor, connects=False),
}

CLUSTER_VERBS = {
    "add": Command(
        "Pose as another cluster, with an agent of its own on this machine",
        _add,
        _add_arguments,
        examples="  bushel cluster add east-1 --site east --nodes 4 --cpu 8 --memory 32GiB --gpu H100:8 --topology rack=r1,r2",
        output=False,
        connects=False,
    ),
    "remove": Command(
        "Stop a cluster's agent on this machine and take the cluster out of the fleet",
        _remove,
        _remove_arguments,
        output=False,
        connects=False,
    ),
}
