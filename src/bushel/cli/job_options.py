"""Make job documents out of flags and files, and say what is wrong with them where people wrote it."""

from __future__ import annotations

import argparse
import os
import sys

from bushel.cli.mistakes import Wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from bushel.cli.session import Session
    from bushel.client.documents import Document, Source
    from bushel.domain.errors import FieldProblem, InvalidDocument

RETRIED_BY_FLAG = ["application", "infrastructure", "preempted", "unknown"]


_SHELL_LETTERS = frozenset(" \t\n|&;<>()$`\"'*?[#~=%!{")


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """The flags that stand for fields of the document."""
    parser.set_defaults(takes_command=True)
    what = parser.add_argument_group("what each task needs")
    what.add_argument("--cpu", metavar="N", help="CPUs: 4, 0.5, 500m; default 1")
    what.add_argument("--memory", metavar="SIZE", help="memory: 16GiB, 512MiB; default 1GiB")
    what.add_argument("--gpu", metavar="[MODEL:]N", help="accelerators: 1, H100:8, 0.25; default none")
    what.add_argument("--disk", metavar="SIZE", help="scratch space on disk")
    what.add_argument("--image", metavar="IMAGE", help="container image; left out: a process, where the cluster allows it")
    what.add_argument("--workdir", metavar="FOLDER", help="folder to run in; uploaded, .gitignore holds")
    what.add_argument("--setup", metavar="SHELL", help="shell text to run before the command")
    what.add_argument("--env", metavar="NAME[=VALUE]", action="append", default=[], help="environment variable; without a value: yours")
    what.add_argument("--secret", metavar="NAME", action="append", default=[], help="secret to pass as an environment variable")
    shape = parser.add_argument_group("shape, place and time")
    shape.add_argument("--name", metavar="NAME", help="default: the first word of the command")
    shape.add_argument("--queue", metavar="QUEUE", help="default: the project's")
    shape.add_argument("--array", metavar="INDICES", help="run once for each index: 0-999, 0-999%%50 (50 at a time)")
    shape.add_argument("--nodes", metavar="N", type=int, help="a gang of so many equal tasks, started together or not at all")
    shape.add_argument("--site", metavar="SITE", action="append", default=[], help="one of these sites")
    shape.add_argument("--cluster", metavar="CLUSTER", action="append", default=[], help="one of these clusters")
    shape.add_argument("--require", metavar="LEVEL", help="all tasks within one of this level: rack, block, host")
    shape.add_argument("--after", metavar="JOB[:success|failure|end]", action="append", default=[], help="a job that must end first")
    shape.add_argument("--priority", metavar="PRIORITY", help="low, normal, high, or 0 to 1000")
    shape.add_argument("--time-limit", metavar="TIME", help="each attempt is stopped after this: 2h, 40m; default 24h")
    shape.add_argument("--retry", metavar="N", type=int, help="try again when it fails, up to N attempts")
    shape.add_argument("--label", metavar="KEY=VALUE", action="append", default=[], help="for people and filters")
    shape.add_argument("--hold", action="store_true", help="wait for `bushel release`")


def fields_of_flags(options: argparse.Namespace) -> dict[str, Any]:
    """The document that the flags stand for; empty for none."""
    document: dict[str, Any] = {}
    for field in ("name", "queue", "array", "nodes", "image", "setup", "workdir", "time_limit"):
        value = getattr(options, field)
        if value is not None:
            document[field] = value
    resources = {field: getattr(options, field) for field in ("cpu", "memory", "gpu", "disk") if getattr(options, field) is not None}
    if resources:
        document["resources"] = resources
    placement = {"sites": options.site, "clusters": options.cluster, "require": options.require}
    placement = {field: value for field, value in placement.items() if value}
    if placement:
        document["placement"] = placement
    if options.priority is not None:
        document["priority"] = int(options.priority) if options.priority.isascii() and options.priority.isdigit() else options.priority
    if options.env:
        document["env"] = dict(_variable(text) for text in options.env)
    if options.secret:
        document["secrets"] = options.secret
    if options.after:
        document["after"] = [_dependency(text) for text in options.after]
    if options.retry is not None:
        document["retry"] = {"attempts": options.retry}
    if options.label:
        document["labels"] = labels(options.label)
    if options.hold:
        document["hold"] = True
    return document


def labels(texts: Iterable[str]) -> dict[str, str]:
    """`KEY=VALUE` as a mapping."""
    found = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise Wrong(f"--label {text}: write KEY=VALUE")
        found[key] = value
    return found


def run_of_words(words: tuple[str, ...]) -> str | list[str]:
    """One word that only a shell understands is for a shell; anything else is for exec."""
    if len(words) == 1 and not _SHELL_LETTERS.isdisjoint(words[0]):
        return words[0]
    return list(words)


def read_files(paths: list[str], *, kind: str = "job", may_be_command: bool = False) -> list[Document]:
    """The documents of all files; `-` is standard input. `may_be_command`: somebody may have meant the paths for a command."""
    from bushel.client.documents import MOST_FILE_BYTES, read_documents

    documents: list[Document] = []
    for path in paths:
        if path == "-":
            data, name = sys.stdin.buffer.read(MOST_FILE_BYTES + 1), "standard input"
        else:
            try:
                with open(path, "rb") as file:
                    data, name = file.read(MOST_FILE_BYTES + 1), path
            except OSError as error:
                missing = may_be_command and isinstance(error, FileNotFoundError)
                command = f"to run a command, put -- before it: -- {' '.join(paths)}" if missing else None
                raise Wrong(f"{path}: {(error.strerror or str(error)).lower()}", suggestion=command) from error
        if len(data) > MOST_FILE_BYTES:
            raise Wrong(f"{name} is longer than {MOST_FILE_BYTES // 1024**2} MiB")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise Wrong(f"{name} is not text in UTF-8 (byte {error.start:,})") from error
        found = list(read_documents(text, name))
        if not found:
            raise Wrong(
                f"{name} holds no document", suggestion="see: bushel schema pipeline" if kind == "pipeline" else "see: bushel schema job"
            )
        documents += found
    return documents


def merge(document: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """What the flags say goes over what the file says, field by field."""
    merged = dict(document)
    for field, value in flags.items():
        inner = merged.get(field)
        if isinstance(value, dict) and isinstance(inner, dict):
            merged[field] = {**inner, **value}
        elif isinstance(value, list) and isinstance(inner, list):
            merged[field] = [*inner, *value]
        else:
            merged[field] = value
    return retrying(merged, flags)


def retrying(document: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """`--retry` means failures of the job itself too, unless the document says which failures."""
    if "retry" in flags and isinstance(document["retry"], dict):
        document["retry"] = {"on": RETRIED_BY_FLAG, **document["retry"]}
    return document


def upload_workdirs(session: Session, values: list[dict[str, Any]], folders: list[str]) -> None:
    """Put a digest in place of each folder. `folders` says where each document's relative paths begin."""
    if not any(isinstance(value.get("workdir"), str) for value in values):
        return
    from bushel.client.uploads import only_project

    digests: dict[tuple[str, str], str] = {}
    for value, base in zip(values, folders, strict=True):
        workdir = value.get("workdir")
        if not isinstance(workdir, str) or workdir.startswith("sha256:"):
            continue
        project = str(value.get("project") or session.project or only_project(session.caller))
        folder = os.path.normpath(os.path.join(base, os.path.expanduser(workdir)))
        if (project, folder) not in digests:
            digests[project, folder] = _upload(session, project, folder)
        value["workdir"] = digests[project, folder]


def _upload(session: Session, project: str, folder: str) -> str:
    from bushel.cli.words import plural, size
    from bushel.client.uploads import upload
    from bushel.client.workdir import pack

    packed = pack(folder)
    with packed.file:
        if upload(session.caller, project, packed) and session.err.isatty():
            session.note(f"uploaded {folder}: {plural(packed.file_count, 'file')}, {size(packed.size_bytes)}")
    return packed.digest


def show_problems(
    session: Session, error: InvalidDocument, sources: list[Source | None], flags: dict[str, Any], *, batch: bool, kind: str = "job"
) -> None:
    """Each problem at the place where it was written. `kind` of document: job or pipeline."""
    problems = list(error.problems)
    for problem in problems[:20]:
        session.note(_place(problem, sources, flags, batch))
    if len(problems) > 20:
        session.note(f"and {len(problems) - 20} more")
    if problems[0].suggestion and problems[0].suggestion.startswith("--"):
        session.note(f"Try: {problems[0].suggestion}")
        return
    first = _field(_meant(problems[0]), batch)
    if kind == "pipeline":  # its fields have no headings of their own
        first = first.partition(".")[0] if first.startswith(("stages", "partitions", "canary")) else ""
    schema = "bushel schema pipeline" if kind == "pipeline" else "bushel schema job"
    session.note(f"See docs/reference/{kind}.md{'#' + first.replace('.', '-') if first else ''}, or: {schema}")


def _meant(problem: FieldProblem) -> str:
    """The pointer to the field, or, where there is none of that name, to the one that was probably meant, else to what holds it."""
    if problem.code != "unknown_field":
        return problem.pointer
    holder = problem.pointer.rpartition("/")[0]
    return f"{holder}/{problem.suggestion}" if problem.suggestion else holder


def _place(problem: FieldProblem, sources: list[Source | None], flags: dict[str, Any], batch: bool) -> str:
    from bushel.domain.errors import FieldProblem

    number, pointer = 0, problem.pointer
    if batch and pointer.startswith("/jobs/"):
        item, _, rest = pointer.removeprefix("/jobs/").partition("/")
        number, pointer = int(item) if item.isdigit() else 0, "/" + rest if rest else ""
    own = FieldProblem(pointer, problem.message, problem.code, problem.suggestion)
    source = sources[number] if number < len(sources) else None
    parts = pointer.split("/")[1:]
    flag = _flag(parts, flags)
    if flag:
        return f"{flag}: {problem.message}"
    if source is not None:
        return source.shown(own)
    field = ".".join(parts)
    return f"{field + ': ' if field else ''}{problem.message}"


def _flag(parts: list[str], flags: dict[str, Any]) -> str | None:
    """The flag that wrote this field, if one did."""
    if not parts or parts[0] not in flags:
        return None
    value = flags[parts[0]]
    names = {
        "env": "env",
        "secrets": "secret",
        "after": "after",
        "labels": "label",
        "retry": "retry",
        "sites": "site",
        "clusters": "cluster",
    }
    if parts[0] in ("resources", "placement"):
        if len(parts) < 2 or parts[1] not in value:
            return None
        return f"--{names.get(parts[1], parts[1])} {value[parts[1]]}"
    if parts[0] == "run":
        return "--"
    name = names.get(parts[0], parts[0].replace("_", "-"))
    return f"--{name} {value}" if isinstance(value, str | int) else f"--{name}"


def _field(pointer: str, batch: bool) -> str:
    parts = [part for part in pointer.split("/")[1:] if not part.isdigit()]
    return ".".join(parts[1:] if batch and parts[:1] == ["jobs"] else parts)


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if separator:
        return name, value
    if name not in os.environ:
        raise Wrong(f"--env {name}: it is not set here", suggestion=f"--env {name}=VALUE")
    return name, os.environ[name]


def _dependency(text: str) -> dict[str, str]:
    job, separator, condition = text.partition(":")
    return {"job": job, "on": condition} if separator else {"job": job}
