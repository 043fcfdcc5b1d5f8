"""Upload a job's working folder, once for each content."""

from __future__ import annotations

from bushel.client.caller import Caller
from bushel.client.errors import FieldProblem, InvalidDocument, NotFound, of_answer, of_failure
from bushel.client.http1 import TransportFailure
from bushel.client.operations import blobs, tenancy
from bushel.client.transport import Upload
from bushel.client.workdir import Packed

UPLOAD_TIMEOUT_SECONDS = 1800.0


def only_project(caller: Caller) -> str:
    """The project that the server would choose where none is named: the only one that there is.

    Raises:
        InvalidDocument: there are several, or none.
    """
    return choose_project(
        [scope["path"] for scope in caller.pages(lambda page: tenancy.scopes_page(page=page)) if scope["kind"] == "project"]
    )


def choose_project(projects: list[str]) -> str:
    """The only one.

    Raises:
        InvalidDocument: there are several, or none.
    """
    if len(projects) == 1:
        return projects[0]
    fix = f"--project {projects[0]}, or BUSHEL_PROJECT" if projects else "ask an admin for a project"
    raise InvalidDocument([FieldProblem("/project", "which project is this for?", "missing", fix)])


def upload(caller: Caller, project: str, packed: Packed) -> bool:
    """Put the archive where jobs of `project` find it; whether it had to be sent.

    Raises:
        BushelError: it was refused, or Bushel was not reached.
    """
    try:
        caller.call(blobs.exists(project, packed.digest))
        return False
    except NotFound:
        pass
    path = blobs.path(project, packed.digest)
    headers = {"Content-Type": "application/gzip"}
    try:
        status, answered, body = caller.transport.send("PUT", path, Upload(packed.file, packed.size_bytes), headers, UPLOAD_TIMEOUT_SECONDS)
    except TransportFailure as failure:
        raise of_failure(failure, caller.context.url) from failure
    if status >= 400:
        raise of_answer(status, answered, body)
    return True
