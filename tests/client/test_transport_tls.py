"""TLS is verified: against the file given, and never skipped."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bushel.client.async_transport import AsyncTransport
from bushel.client.http1 import NotConnected
from bushel.client.transport import Transport


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def port(certificate: tuple[Path, Path]) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listening.accept()
            except OSError:
                return
            with suppress(OSError), context.wrap_socket(raw, server_side=True) as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1]
    with suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def test_a_known_certificate_is_taken(port: int, certificate: tuple[Path, Path]) -> None:
    url, authority = f"https://127.0.0.1:{port}", str(certificate[0])
    assert Transport(url, ca_file=authority).send("GET", "/")[2] == b"hello"
    assert asyncio.run(AsyncTransport(url, ca_file=authority).send("GET", "/"))[2] == b"hello"


def test_an_unknown_certificate_is_refused(port: int) -> None:
    url = f"https://127.0.0.1:{port}"
    with pytest.raises(NotConnected, match=r"(?i)certificate"):
        Transport(url, patience_seconds=0).send("GET", "/")
    with pytest.raises(NotConnected, match=r"(?i)certificate"):
        asyncio.run(AsyncTransport(url, patience_seconds=0).send("GET", "/"))


def test_a_certificate_for_another_name_is_refused(port: int, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(NotConnected, match=r"(?i)certificate"):
        Transport(f"https://localhost:{port}", ca_file=str(certificate[0]), patience_seconds=0).send("GET", "/")


def test_a_missing_file_of_authorities_is_said(port: int) -> None:
    url = f"https://127.0.0.1:{port}"
    with pytest.raises(NotConnected, match="TLS"):
        Transport(url, ca_file="/nowhere.pem", patience_seconds=0).send("GET", "/")
    with pytest.raises(NotConnected, match="TLS"):
        asyncio.run(AsyncTransport(url, ca_file="/nowhere.pem", patience_seconds=0).send("GET", "/"))
