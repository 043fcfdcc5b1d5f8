"""`python -m bushel.api`: serve the API until told to stop.

Guarantees: migrations have run before the first request; a host beyond loopback needs TLS files; the ready file
appears, with the address in it, when requests are answered, and is gone when they are not. It waits at its start for
a database that does not answer yet, and answers 503 while one is away later. Told to stop (SIGTERM, SIGINT) it takes
no more requests, ends streams and long polls at once, lets the rest finish for up to `STOP_SECONDS`, and exits 0.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import ipaddress
import logging
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

STOP_SECONDS = 2
DATABASE_WAIT_SECONDS = 60
MOST_CONNECTIONS = 16

log = logging.getLogger("bushel.api")


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    if not _is_loopback(options.host) and options.tls_certificate is None:
        print(
            f"{options.host} can be reached from other machines, so tokens would cross the network in the clear. "
            "Give --tls-certificate and --tls-key, or listen on 127.0.0.1.",
            file=sys.stderr,
        )
        return 2
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        listening = _listen(options.host, options.port)
    except OSError as error:
        print(f"cannot listen on {options.host}, port {options.port}: {error.strerror or error}", file=sys.stderr)
        return 1
    with listening:
        return _serve(options, listening)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bushel.api", description="Serve the API until told to stop.")
    database = parser.add_mutually_exclusive_group(required=True)
    database.add_argument("--database-url")
    database.add_argument("--database-url-file", type=Path, help="a file that holds the URL, so that no list of processes shows it")
    parser.add_argument("--state-folder", type=Path, required=True, help="for blobs, logs and the key of secrets")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7077, help="0 takes a free one; the ready file says which")
    parser.add_argument("--tls-certificate", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--ready-file", type=Path, help="holds the address while requests are answered")
    parser.add_argument("--lease-seconds", type=float, default=None)
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    options = parser.parse_args(arguments)
    if (options.tls_certificate is None) != (options.tls_key is None):
        parser.error("--tls-certificate and --tls-key go together")
    for file in (options.tls_certificate, options.tls_key, options.database_url_file):
        if file is not None and not file.is_file():
            parser.error(f"there is no file {file}")
    if not 0 <= options.port <= 65535:
        parser.error(f"{options.port} is not a port")
    if options.database_url_file is not None:
        options.database_url = options.database_url_file.read_text().strip()
    return options


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError:
        listening.close()
        raise
    return listening


def _serve(options: argparse.Namespace, listening: socket.socket) -> int:
    gc.disable()  # until `_collect_less`: what is made now stays
    from bushel.api.app import create_app
    from bushel.api.settings import Settings
    from bushel.domain.errors import BushelError
    from bushel.store.database import Database

    port = listening.getsockname()[1]
    scheme = "https" if options.tls_certificate else "http"
    address = f"{scheme}://{f'[{options.host}]' if ':' in options.host else options.host}:{port}"
    leases = {} if options.lease_seconds is None else {"lease_seconds": options.lease_seconds}
    settings = Settings(options.database_url, options.state_folder, options.host, port, **leases)
    options.state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _migrate(options.database_url)
        with Database(options.database_url, most_connections=MOST_CONNECTIONS, name="bushel api") as database:
            app = create_app(database, settings)
            server = _server(app, options, address)
            try:
                server.run(sockets=[listening])
            finally:
                if options.ready_file is not None:
                    options.ready_file.unlink(missing_ok=True)
            return 0 if server.started else 1
    except BushelError as error:
        print(error.message, *filter(None, (error.suggestion,)), sep=". ", file=sys.stderr)
        return 1


def _migrate(url: str) -> None:
    """Wait for the database, and bring it to this version's schema."""
    import psycopg

    from bushel.domain.errors import Unavailable
    from bushel.store.migrate import migrate

    deadline = time.monotonic() + DATABASE_WAIT_SECONDS
    told = False
    while True:
        try:
            for name in migrate(url):
                log.info("migrated: %s", name)
            return
        except psycopg.OperationalError as error:
            reason = str(error).strip().splitlines()[-1]
            if time.monotonic() > deadline:
                raise Unavailable(f"the database has not answered for {DATABASE_WAIT_SECONDS} s: {reason}") from error
            if not told:
                log.warning("waiting up to %s s for the database: %s", DATABASE_WAIT_SECONDS, reason)
                told = True
            time.sleep(0.1)


def _server(app: FastAPI, options: argparse.Namespace, address: str) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _collect_less()
                if options.ready_file is not None:
                    _write_whole(options.ready_file, address + "\n")
                log.info("ready: %s", address)

        def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002
            # Not remembered, so that uvicorn does not end the process by this signal once it has stopped: that is no fault.
            self.force_exit = self.should_exit
            self.should_exit = True

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.stopping.set()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            proxy_headers=False,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
            timeout_keep_alive=75,
            backlog=1024,
            ssl_certfile=options.tls_certificate,
            ssl_keyfile=options.tls_key,
        )
    )


def _collect_less() -> None:
    """What exists now stays for good: the collector need not look at it again."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text)
    draft.replace(path)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        raise SystemExit(main())
