"""An S3 server on this machine, and what can stand in front of it and be faulty."""

from __future__ import annotations

import http.client
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import boto3
import pytest

from tests.conftest import free_port
from tests.faults.platform import wait_for

KEYS = {"S3_ID": "bushel", "S3_KEY": "not-a-secret"}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "false"},
    )  # fmt: skip

    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/moto-api/")
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()

    try:
        wait_for("the S3 server", answers, 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(10)


@pytest.fixture
def bucket(s3_server: str, request: pytest.FixtureRequest) -> str:
    name = f"b{abs(hash(request.node.nodeid)) % 10**12}"
    client(s3_server).create_bucket(Bucket=name)
    return name


def client(endpoint: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=KEYS["S3_ID"], aws_secret_access_key=KEYS["S3_KEY"], region_name="us-east-1"
    )


def place(bucket: str, endpoint: str, **options: Any) -> dict[str, Any]:
    secrets = {"access_key_id": "S3_ID", "secret_access_key": "S3_KEY"}
    return {
        "name": "bucket", "url": f"s3://{bucket}/data", "sites": [], "jurisdiction": "",
        "options": {"endpoint": endpoint, "region": "us-east-1", **options}, "secrets": secrets,
    }  # fmt: skip


@dataclass
class Proxy:
    """Passes requests on, but for what `fault` makes of them: a status to answer with, or `drop`, `drop-after`, `forget`, `truncate`."""

    url: str
    fault: Callable[[str, str, int], Any] = lambda _method, _path, _number: None
    seen: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def proxy(s3_server: str) -> Iterator[Proxy]:
    upstream = s3_server.removeprefix("http://")
    made = Proxy("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            made.seen.append((self.command, self.path))
            fault = made.fault(self.command, self.path, len(made.seen))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if isinstance(fault, int):
                self.send_response(fault)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault == "drop":
                self.close_connection = True
                self.connection.close()
                return
            headers = {name: value for name, value in self.headers.items() if fault != "forget" or name.lower() != "if-none-match"}
            connection = http.client.HTTPConnection(upstream, timeout=30)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if fault == "drop-after":
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if fault == "truncate" else content)
            if fault == "truncate":
                self.close_connection = True
            connection.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        server.shutdown()
