"""A Slurm of its own on this machine, as the peer of the throughput benchmarks. Needs root and Debian's slurm-wlm.

Everything it writes lies in one temporary folder; it listens on free ports of the loopback address only and is stopped
by pid. The node advertises as many CPUs as the benchmark's own slots, so both sides run as many tasks at once.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_TIMEOUT_SECONDS = 30
RUN_TIMEOUT_SECONDS = 600

_CONFIGURATION = """
ClusterName=peer
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,defer_batch,max_array_tasks=100000
MaxArraySize=100001
MaxJobCount=100000
MinJobAge=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={slots} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


class Slurm:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def command(self, *arguments: str, timeout_seconds: float = 60) -> str:
        return subprocess.run(
            arguments, env=self.environment, check=True, capture_output=True, text=True, timeout=timeout_seconds, cwd=self.folder
        ).stdout

    def submit(self, *options: str, script: str = "#!/bin/sh\ntrue\n") -> None:
        subprocess.run(
            ["sbatch", "--quiet", "--output=/dev/null", "--cpus-per-task=1", *options],
            input=script, env=self.environment, check=True, capture_output=True, text=True, timeout=60, cwd=self.folder,
        )  # fmt: skip

    def wait_until_empty(self) -> None:
        """Until no job is pending, running or completing."""
        deadline = time.monotonic() + RUN_TIMEOUT_SECONDS
        while self.command("squeue", "--noheader", "--format=%i").strip():
            if time.monotonic() > deadline:
                raise TimeoutError(f"Slurm still had jobs after {RUN_TIMEOUT_SECONDS} s")
            time.sleep(0.05)


def available() -> str | None:
    """Why there can be no Slurm here, or None."""
    if os.geteuid() != 0:
        return "Slurm is only compared when run as root"
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]
    return f"{', '.join(missing)} not found: apt-get install slurm-wlm munge" if missing else None


@contextmanager
def running_slurm(slots: int) -> Iterator[Slurm]:
    """A controller and one node with `slots` CPUs.

    Raises:
        TimeoutError: the node is not idle within 30 s.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-slurm-", dir="/var/tmp"))
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / "munge").mkdir(mode=0o755)
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(folder=folder, host=socket.gethostname(), controller_port=_free_port(), node_port=_free_port(), slots=slots)
    )
    slurm = Slurm(folder)
    munge = [
        "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge/pid",
        f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed",
    ]  # fmt: skip
    parts = []
    try:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            parts.append(
                subprocess.Popen(
                    command, env=slurm.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
                )
            )
            time.sleep(0.5)
        _wait_until_idle(slurm)
        yield slurm
    finally:
        for part in reversed(parts):
            part.terminate()
        for part in parts:
            try:
                part.wait(10)
            except subprocess.TimeoutExpired:
                part.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_idle(slurm: Slurm) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    seen = ""
    while time.monotonic() < deadline:
        try:
            seen = slurm.command("sinfo", "--noheader", "--format=%T")
        except subprocess.CalledProcessError as error:
            seen = error.stderr
        if seen.strip() == "idle":
            return
        time.sleep(0.2)
    raise TimeoutError(f"Slurm's node was not idle after {START_TIMEOUT_SECONDS} s: {seen.strip()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
