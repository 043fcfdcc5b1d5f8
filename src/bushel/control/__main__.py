"""`python -m bushel.control`: the controllers as a process of their own.

Guarantees: any number of these may run; one leads. SIGTERM or SIGINT ends it within two seconds and hands the lease on.
The ready file is written as soon as the process tries for the lease, and again at each change: `{"pid", "leader", "epoch"}`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from bushel.control.controllers import controllers
from bushel.control.preemption import live_policy
from bushel.control.runner import Runner
from bushel.domain.errors import BushelError
from bushel.domain.leases import LEASE_SECONDS_DEFAULT
from bushel.store.database import Database
from bushel.store.leases import Lease
from bushel.store.listener import Listener

log = logging.getLogger("bushel.control")

_SPARE_CONNECTIONS = 3
_DATABASE_SECONDS = 60.0


def main() -> int:
    options = _options()
    _log_to_stderr()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # before any thread exists, so that all inherit it
    url = options.database_url or options.database_url_file.read_text().strip()
    try:
        live_policy()
    except BushelError as error:
        log.error("%s", error.message)
        return 2
    table = controllers(options.state_folder, options.lease_seconds)
    database = Database(url, most_connections=len(table) + _SPARE_CONNECTIONS, name="bushel control")
    try:
        database.open(timeout_seconds=_DATABASE_SECONDS)
    except BushelError as error:
        log.error("%s", error.message)
        return 3
    with Listener(url) as listener:
        runner = Runner(database, listener, table, changed=lambda lease: _write_ready(options.ready_file, lease))
        thread = threading.Thread(target=_run, args=(runner,), name="runner", daemon=True)
        thread.start()
        received = signal.sigwait({signal.SIGTERM, signal.SIGINT})
        crashed = not thread.is_alive()
        log.info("stopping signal=%s", signal.Signals(received).name)
        runner.stop()
        thread.join(2.0)
    database.close()
    return 1 if crashed else 0


def _run(runner: Runner) -> None:
    try:
        runner.run()
    except Exception:
        log.exception("the runner failed")
        os.kill(os.getpid(), signal.SIGTERM)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bushel.control", description="Run the controllers.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--database-url", metavar="URL")
    where.add_argument("--database-url-file", metavar="FILE", type=Path, help="holds the URL, so that no password is on a command line")
    parser.add_argument(
        "--state-folder", metavar="DIR", type=Path, required=True, help="holds secret.key and what else is not in PostgreSQL"
    )
    parser.add_argument("--ready-file", metavar="FILE", type=Path, help="written once the process tries for the lease")
    parser.add_argument("--lease-seconds", metavar="N", type=float, default=LEASE_SECONDS_DEFAULT, help="as the API has it")
    return parser.parse_args()


def _log_to_stderr() -> None:
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ level=%(levelname)s logger=%(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns of each attempt while the database is away; so do we


def _write_ready(ready_file: Path | None, lease: Lease | None) -> None:
    if ready_file is None:
        return
    draft = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
    draft.write_text(json.dumps({"pid": os.getpid(), "leader": lease is not None, "epoch": lease.epoch if lease else None}) + "\n")
    draft.replace(ready_file)


if __name__ == "__main__":
    sys.exit(main())
