"""The output of a pod, from the cluster into the spool that the agent sends.

Guarantees: fetched from its beginning, it gives the same bytes each time, so it may be fetched again after a restart;
bounded in time and size; what cannot be fetched is said in the log itself and holds nobody up; secrets are masked.
"""

from __future__ import annotations

import shutil

from bushel.agent import clock
from bushel.agent.executors.kubernetes.api import ApiError
from bushel.agent.executors.kubernetes.pods import secret_values
from bushel.agent.executors.local.folder import LOG
from bushel.agent.executors.local.spool import Masker, Spool, cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bushel.agent.executors.kubernetes.api import Api

LIMIT_BYTES = 64 * 1024 * 1024
TIMEOUT_SECONDS = 8.0
_MOST_DIGITS = 9


def fetch_output(api: Api, pod_path: str, secret_name: str, folder: str) -> int:
    """Write all that a pod printed into `folder`. How many bytes of records that came to."""
    shutil.rmtree(f"{folder}/{LOG}", ignore_errors=True)
    spool = Spool(f"{folder}/{LOG}", LIMIT_BYTES)
    try:
        masker = Masker(_secrets(api, pod_path, secret_name))
        for line in api.lines(f"{pod_path}/log", timeout_seconds=TIMEOUT_SECONDS, timestamps="true", limitBytes=LIMIT_BYTES):
            time, _, text = line.rstrip(b"\n").partition(b" ")
            spool.write(cut(masker.mask_all(text), _head(time, b"stdout"), b"F "))
    except (OSError, ApiError) as error:
        text = f"bushel: its output could not be fetched: {' '.join(str(error).split())[:300]}"
        spool.write(_head(clock.timestamp().encode(), b"stderr") + b"F " + text.encode() + b"\n")
    spool.close()
    return spool.position


def _secrets(api: Api, pod_path: str, name: str) -> list[str]:
    """Those of its attempt, which may be of an agent before us."""
    namespace_path = pod_path.rpartition("/pods/")[0]
    try:
        return secret_values(api.get(f"{namespace_path}/secrets/{name}"))
    except ApiError as error:
        if error.status != 404:
            raise
        return []


def _head(time: bytes, stream: bytes) -> bytes:
    """Kubernetes leaves out zeros at the end of a time; records have nine digits."""
    seconds, _, fraction = time.removesuffix(b"Z").partition(b".")
    return b"%s.%sZ %s " % (seconds, fraction.ljust(_MOST_DIGITS, b"0")[:_MOST_DIGITS], stream)
