"""Upload a job's working folder, once for each content."""

from __future__ import annotations

from bushel.client.caller import Caller
from bushel.client.errors import NotFound, of_answer, of_failure
from bushel.client.http1 import TransportFailure
from bushel.client.operations import blobs
from bushel.client.transport import Upload
from bushel.client.workdir import Packed

UPLOAD_TIMEOUT_SECONDS = 1800.0


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
