"""The agent's process: its parts put together, its signals, its end. See `bushel.agent.__main__` for what it promises."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue
import resource
import shutil
import signal
import sys
import time

from bushel.agent import engines
from bushel.agent.blobs import BlobCache
from bushel.agent.config import AgentConfig, BadConfiguration, load
from bushel.agent.core import Core
from bushel.agent.executors.local import processes
from bushel.agent.executors.local.folder import parse_task_key
from bushel.agent.log_sender import LogSender
from bushel.agent.state import PARK_FILE, InUse, StateFolder
from bushel.agent.sync import Synchroniser
from bushel.client.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

log = logging.getLogger(__name__)

EXIT_NOT_PARKED = 3
EXIT_FOLDER_GONE = 4
PARK_SECONDS = 10.0
STOP_REPORT_SECONDS = 60.0
CHECKPOINTS_KEPT_SECONDS = 14 * 86400.0
_TICK_SECONDS = 1.0
_STOPPED_BY_OPERATOR = "preempted"
"""Tasks that an operator stops with the platform are tried again later, and this is not their owners' fault."""


class Agent:
    """All parts of one agent. `start`, then `park` or `stop_tasks` or nothing, then `close`."""

    def __init__(self, config: AgentConfig, state: StateFolder) -> None:
        token = _token(config)
        self._state = state
        self._engine = engines.make(config, state, self._take_event)
        self._executor = self._engine.executor
        self._syncs = Transport(config.url, token=token, ca_file=config.ca_file, patience_seconds=0.0)
        self._bulk = Transport(config.url, token=token, ca_file=config.ca_file, patience_seconds=0.0)
        self._blobs = BlobCache(self._bulk, f"{state.path}/cache")
        self.core = Core(
            self._engine.maker,
            self._engine.devices,
            state.generation,
            changed=self._changed,
            fetch=self._blobs.fetch,
            logs_ended=self._logs_ended,
        )
        self._logs = LogSender(self._bulk, state, self.core.logs_sent)
        self._sync = Synchroniser(self._syncs, state, self.core, self._engine.nodes)

    def start(self) -> None:
        """Take over what runs, then talk."""
        found = self._executor.open()
        self.core.adopt(self._executor, found, self._engine.epoch())
        for key, (_, end) in found.items():
            if end is None:
                self._logs.written(key, *parse_task_key(key))
        self._executor.listen()
        self._engine.follow_nodes(self._sync.nodes_changed)
        self._blobs.start()
        self._logs.start()
        self._sync.start()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._state.path}/{PARK_FILE}")

    def tick(self) -> None:
        """Now and then."""
        self.core.tick()

    def park(self) -> bool:
        """Leave tasks to themselves, with the control plane's consent."""
        return self._sync.park(PARK_SECONDS)

    def stop_tasks(self) -> None:
        """End all tasks and see that it is known."""
        self.core.stop_everything(_STOPPED_BY_OPERATOR)
        while self.core.live_count():
            time.sleep(0.02)
        deadline = time.monotonic() + STOP_REPORT_SECONDS
        while (self.core.has_news() or self._logs.has_waiting()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.park()  # so that what is still wanted here waits for us instead of being taken for lost

    def close(self) -> None:
        """Stop talking and listening. Tasks go on."""
        self._sync.stop()
        self._logs.stop()
        self._blobs.stop()
        self._executor.close()
        self._state.close()

    def _take_event(self, key: str, event: str, value: dict[str, Any] | None) -> None:
        if event == "log":
            self._logs.written(key, *parse_task_key(key))
        else:
            self.core.take_event(key, event, value)

    def _changed(self, urgent: bool) -> None:
        self._sync.changed(urgent=urgent)

    def _logs_ended(self, key: str, attempt: str, rank: int, final_position: int | None) -> None:
        self._logs.ended(key, attempt, rank, final_position)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bushel.agent", description="Run what one cluster is to run.")
    parser.add_argument("--config", required=True, metavar="FILE")
    parser.add_argument("--stop-tasks", action="store_true", help="end all tasks, see that it is known, and exit")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        config = load(options.config)
        state = StateFolder.open(config.state_folder)
    except InUse as error:
        if options.stop_tasks:
            return _stop_other(error)
        print(f"bushel agent: {error}", file=sys.stderr)
        return 1
    except (BadConfiguration, OSError) as error:
        print(f"bushel agent: {error}", file=sys.stderr)
        return 2
    return _run(config, state, stop_tasks=options.stop_tasks)


def _run(config: AgentConfig, state: StateFolder, *, stop_tasks: bool) -> int:
    _raise_file_limit()
    _sweep_checkpoints(f"{state.path}/checkpoints")
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.put(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, ask)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        agent = Agent(config, state)
    except (BadConfiguration, OSError, ValueError) as error:
        print(f"bushel agent: {error}", file=sys.stderr)
        return 2
    agent.start()
    log.info("agent of cluster %s, state in %s", config.cluster, state.path)
    if stop_tasks:
        asked.put(signal.SIGUSR2)
    code = 0
    while True:
        try:
            number = asked.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            if state.is_ours():
                agent.tick()
                continue
            log.error("the state folder %s was taken away: its tasks end with their lease, and so does this agent", state.path)
            code = EXIT_FOLDER_GONE
            break
        if number == signal.SIGUSR2:
            agent.stop_tasks()
        elif number == signal.SIGUSR1 or (number == signal.SIGTERM and state.parking_is_asked()):
            code = 0 if agent.park() else EXIT_NOT_PARKED
        break
    agent.close()
    return code


def _stop_other(holder: InUse) -> int:
    """Have the agent that holds the folder stop its tasks, and wait until it has."""
    if holder.pid is None or holder.ticks is None or not processes.send(holder.pid, holder.ticks, signal.SIGUSR2):
        print(f"bushel agent: {holder}, which does not answer", file=sys.stderr)
        return 1
    while processes.start_ticks(holder.pid) == holder.ticks:
        time.sleep(0.05)
    return 0


def _token(config: AgentConfig) -> str:
    """Raises:
    BadConfiguration: there is none.
    """
    try:
        with open(config.token_file) as file:
            token = file.read().strip()
    except OSError as error:
        raise BadConfiguration(f"the token cannot be read: {error}") from error
    if not token:
        raise BadConfiguration(f"{config.token_file} is empty")
    return token


def _raise_file_limit() -> None:
    """One descriptor for each task that runs for long."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _sweep_checkpoints(folder: str) -> None:
    """What tasks kept for a next attempt goes when nobody wrote to it for two weeks."""
    before = time.time() - CHECKPOINTS_KEPT_SECONDS
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_mtime < before:
                shutil.rmtree(entry.path, ignore_errors=True)
