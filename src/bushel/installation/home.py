"""Where an installation keeps what: one folder, `BUSHEL_HOME`, holds all of its state.

Guarantees: two installations share nothing but the machine; files that hold secrets are 0600 from the moment they
exist, in folders that only their owner can list; a settings file is replaced whole or not at all. Light to import,
because the command line reads it at each start.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bushel.domain.errors import Conflict, Unavailable

DEFAULT_PORT = 7077
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FIRST_PROJECT = "home/main/main"
"""The project that every installation begins with."""


def home_path() -> Path:
    """`BUSHEL_HOME`, else `~/.bushel`, else `/var/lib/bushel` for root."""
    named = os.environ.get("BUSHEL_HOME")
    if named:
        return Path(named).expanduser().absolute()
    return Path("/var/lib/bushel") if os.geteuid() == 0 else Path("~/.bushel").expanduser()


@dataclass(frozen=True, slots=True)
class Embedded:
    """The PostgreSQL that the installation runs itself. `uid` is the account that it runs as when the installation is root's."""

    port: int
    folder: str  # holds `data`; reachable for `uid`
    binaries: str
    uid: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What was decided at the first start and holds for every later one. `embedded` is None with a database of one's own."""

    id: str
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tls_certificate: str | None = None
    tls_key: str | None = None
    database_url: str = ""  # without a password: that lies in `database.password`, in libpq's pgpass format
    embedded: Embedded | None = None

    @property
    def url(self) -> str:
        """The address of the API for this machine."""
        scheme = "https" if self.tls_certificate else "http"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  no listening here
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one installation and the names in it."""

    path: Path

    @classmethod
    def current(cls) -> Home:
        return cls(home_path())

    @property
    def settings_file(self) -> Path:
        return self.path / "installation.json"

    @property
    def api_file(self) -> Path:
        """Where the command line finds the address: `{"url": …, "ca": …, "project": …}`."""
        return self.path / "api.json"

    @property
    def admin_token_file(self) -> Path:
        return self.path / "admin.token"

    @property
    def password_file(self) -> Path:
        return self.path / "database.password"

    @property
    def postgres(self) -> Path:
        """The folder of the embedded PostgreSQL, or a link to where its account can reach it."""
        return self.path / "postgres"

    @property
    def state(self) -> Path:
        """What the API and the controllers keep outside PostgreSQL: blobs, logs of tasks and the key of secrets."""
        return self.path / "state"

    @property
    def agents(self) -> Path:
        """One folder for each local cluster: `agent.json`, `agent.token` and what its agent keeps."""
        return self.path / "agents"

    @property
    def part_logs(self) -> Path:
        return self.path / "logs-of-parts"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def status_file(self) -> Path:
        return self.run / "status.json"

    @property
    def control_file(self) -> Path:
        """What the controllers say of themselves: `{"pid", "leader", "epoch"}`."""
        return self.run / "control.json"

    @property
    def stop_tasks_file(self) -> Path:
        """There while the supervisor shall stop tasks too."""
        return self.run / "stop-tasks"

    @property
    def supervisor_lock(self) -> Path:
        return self.run / "supervisor.lock"

    @property
    def change_lock(self) -> Path:
        return self.run / "change.lock"

    def exists(self) -> bool:
        return self.settings_file.exists()

    def make(self) -> None:
        """Make the folders. A folder that is there already keeps its permissions."""
        if not self.path.exists():
            self.path.mkdir(mode=0o700, parents=True)
            if os.geteuid() == 0:
                self.path.chmod(0o711)  # PostgreSQL's own account passes through; it cannot list
        for folder in (self.state, self.agents, self.part_logs, self.run):
            folder.mkdir(mode=0o700, exist_ok=True)

    def settings(self) -> Settings:
        """What the first start wrote.

        Raises:
            Unavailable: nothing was started here yet.
        """
        try:
            document = json.loads(self.settings_file.read_text())
        except FileNotFoundError:
            raise Unavailable(f"there is no installation in {self.path}", suggestion="bushel up") from None
        embedded = document.pop("embedded", None)
        return Settings(**document, embedded=Embedded(**embedded) if embedded else None)

    def save(self, settings: Settings) -> None:
        write_private(self.settings_file, json.dumps(asdict(settings), indent=2) + "\n")

    def admin_token(self) -> str | None:
        with suppress(FileNotFoundError):
            return self.admin_token_file.read_text().strip()
        return None

    def status(self) -> dict[str, Any]:
        """What the supervisor wrote last; empty without one. Says nothing about whether it still lives: see `supervised`."""
        try:
            return json.loads(self.status_file.read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def cluster_names(self) -> list[str]:
        """The clusters whose agents run on this machine."""
        return sorted(folder.parent.name for folder in self.agents.glob("*/agent.json"))

    def supervised(self) -> bool:
        """Whether a supervisor runs for this home, by the lock that it holds for as long as it lives."""
        try:
            with locked(self.supervisor_lock, wait_seconds=0):
                return False
        except FileNotFoundError:
            return False
        except Conflict:
            return True


def write_private(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file whole, 0600: readers see the old or the new one; so does, if `durable`, who comes after a power cut."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, *, wait_seconds: float) -> Iterator[int]:
    """Hold a lock that ends with this process. The lock is the kernel's; that the file exists means nothing.

    Raises:
        Conflict: somebody else held it all that time.
    """
    import fcntl
    import time

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Conflict(f"{path} is held by another process") from None
            time.sleep(0.02)
        yield descriptor
    finally:
        os.close(descriptor)
