"""The watcher of one task at a time: a small process that outlives the agent, the launcher and `bushel down`.

Guarantees: it starts the task at most once ever (`folder.claim`); it never waits for the agent or the control plane;
it ends the whole tree of processes when the time limit, the lease or a stop says so: a signal, the grace, SIGKILL; it
leaves the result on disk before it lets go of the task's lock, and takes the next task only when nothing of this one
is left. If it is killed itself, its launcher, or else the next look of an agent, kills what it watched, and the task
is reported as lost.

What the task leaves running when its first process ends is killed at once; after a stop, when the grace is over.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import time

from bushel.agent import clock, lease
from bushel.agent.executors.local import folder as task_folder
from bushel.agent.executors.local import processes
from bushel.agent.executors.local.child import sentence, spawn
from bushel.agent.executors.local.progress import last_progress
from bushel.agent.executors.local.results import BadResult, task_result
from bushel.agent.executors.local.spool import Masker, OutputStream, Spool
from bushel.agent.executors.local.steps import UNPACK_DISK_FULL, Captured, Step, status_text, steps_of
from bushel.agent.executors.local.usage import UsageMeter
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bushel.agent.executors.local.worker import Worker

LEASE_GRACE_SECONDS = 2.0
"""Between SIGTERM and SIGKILL when the lease has run out; within `domain.leases.KILL_SECONDS`."""

CHECKPOINTED_EXIT_CODE = 75
NOTICE_REASONS = ("preempted", "time_limit")
TERM_BEFORE_KILL_SECONDS = 5.0
"""After another notice than SIGTERM, SIGTERM follows so long before the kill, or at three quarters of a short grace."""

_NEVER = time.monotonic() + 10 * 366 * 86400.0
_READ_BYTES = 64 * 1024
_READS_PER_TURN = 4
_DRAIN_READS = 64  # more than any pipe holds; somebody outside the task may still write to it
_LOG_NOTICE_SECONDS = 0.05
_PROGRESS_SECONDS = 1.0
_KILL_AGAIN_SECONDS = 0.02
_WRITE_RESULT_SECONDS = 60.0


class NotStarted(Exception):
    """A step did not get as far as its program."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Shim:
    """One task."""

    def __init__(self, request: dict[str, Any], worker: Worker) -> None:
        self._request = request
        self._folder: str = request["folder"]
        self._worker = worker
        self._groups = worker.groups
        self._meter = UsageMeter()
        self._spool = Spool(f"{self._folder}/log", request["log_spool_bytes"])
        masker = Masker(request["secrets"])
        self._output = OutputStream("stdout", self._spool, masker)
        self._errors = OutputStream("stderr", self._spool, masker)
        self._open: dict[int, OutputStream | Captured] = {}
        self._poll = select.poll()
        self._poll.register(worker.wake, select.POLLIN)
        self._main = 0
        self._main_status: int | None = None
        self._main_is_shell = False
        self._has_children = False
        self._told_running = False
        self._untold = b""
        self._stop_reason: str | None = None
        self._limit_at = self._term_at = self._kill_at = self._log_notice_at = self._progress_at = _NEVER
        self._lease_at = 0.0
        self._printed: bytes | None = None
        self._obstacle: str | None = None  # why the node cannot run it

    def run(self) -> None:
        self._started_at = clock.timestamp()
        try:
            lock = self._claim()
        except FileNotFoundError:
            return  # it was forgotten, so it must have ended: this is a late copy of its request
        except OSError as error:
            self._tell("ended", self._result(None, "disk_full", f"the task could not be recorded: {error.strerror}"))
            return
        if lock is None:
            return  # somebody else started it, and reports it
        try:
            self._limit_at = time.monotonic() + self._request["time_limit_seconds"]
            result = self._carry_out()
            self._remove_empty_folders()
            self._save(lock, result)
        finally:
            os.close(lock)

    def close(self) -> None:
        self._meter.close()

    def _remove_empty_folders(self) -> None:
        """Before the end is told, because the next attempt may use them from then on. Those of a gang other ranks may be about to use."""
        if self._request["facts"]["task_count"] == 1:
            for name in self._request["folders"]:
                with contextlib.suppress(OSError):
                    os.rmdir(name)

    def _claim(self) -> int | None:
        request, worker = self._request, self._worker
        limits = request["limits"]
        try:
            self._groups.prepare(request["cgroups"], cpu_milli=limits["cpu_milli"], memory_bytes=limits["memory_bytes"])
        except OSError as error:
            self._obstacle = f"its control groups could not be made: {error.strerror} ({error.filename})"
        start = {
            **request["facts"],
            "pid": worker.pid,
            "start_ticks": worker.start_ticks,
            "boot_id": request["boot_id"],
            "epoch": request["epoch"],
            "started_at": self._started_at,
            "cgroups": self._groups.paths,
            "mark": request["mark"],
        }
        reach("shim.before_claim")
        lock = task_folder.claim(self._folder, start)
        if lock is not None:
            reach("shim.after_claim")
            self._untold = self._line("started", start)  # goes out with what is told next: that it runs, most often
        return lock

    # The task --------------------------------------------------------------------------------------------------------

    def _carry_out(self) -> dict[str, Any]:
        status = None
        try:
            if self._obstacle:
                raise NotStarted("task_lost", self._obstacle)
            with contextlib.suppress(FileExistsError):  # of a folder that is used again, or of an earlier step
                os.mkdir(f"{self._folder}/{task_folder.WORK}", task_folder.WORK_MODE)
            for name in self._request["folders"]:
                os.makedirs(name, exist_ok=True)
            for step in steps_of(self._request):
                if self._stop_reason is None:
                    self._check_stop_file()
                if self._stop_reason:
                    break
                status = self._run_step(step)
                if status != 0 and step.name == "setup" and not self._stop_reason:
                    raise NotStarted("setup_failed", f"setup ended with {status_text(status)}: see its output")
            reason, message = self._judge(status)
        except NotStarted as failure:
            reason, message = failure.reason, failure.message
        except OSError as error:
            reason = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "start_failed"
            message = f"the task could not be prepared: {error.strerror} ({error.filename})"
        self._output.close()
        self._errors.close()
        self._spool.close()
        if self._stop_reason and reason not in (None, "out_of_memory"):
            reason, message = self._stop_reason, None
        return self._result(status, reason, message)

    def _judge(self, status: int | None) -> tuple[str | None, str | None]:
        """The reason and the message of the end, where the exit code does not say it all."""
        if status != 0 and self._groups.out_of_memory_kills():
            most = self._request["limits"]["memory_bytes"] / 2**20
            return "out_of_memory", f"the task needed more than its {most:,.0f} MiB of memory"
        if self._stop_reason:
            return self._stop_reason, None
        if status is None:
            return "task_lost", "the end of the task was not seen"
        if os.WIFSIGNALED(status):
            return "signalled", f"ended by {status_text(status)}"
        code = os.WEXITSTATUS(status)
        if code == CHECKPOINTED_EXIT_CODE:
            return "checkpointed", None
        return ("exit_code", f"exit code {code}") if code else (None, None)

    def _run_step(self, step: Step) -> int:
        """Run one step to its end, with everything that it leaves behind. Returns the wait status of its first process.

        Raises:
            NotStarted: its program never ran, or the workdir could not be unpacked.
        """
        output, output_writer = os.pipe2(os.O_CLOEXEC)
        errors, errors_writer = os.pipe2(os.O_CLOEXEC)
        captured = Captured() if step.name == "unpack" else None
        self._main_status = None
        self._main_is_shell = step.by_shell
        if not self._stop_reason:
            self._kill_at = _NEVER
        reach("shim.before_spawn")
        try:
            self._main = spawn(step, f"{self._folder}/work", self._groups, self._request["limits"], output_writer, errors_writer)
        except (OSError, ValueError) as error:
            os.close(output)
            os.close(errors)
            raise NotStarted("start_failed", sentence(step, error) if isinstance(error, OSError) else str(error)) from error
        finally:
            os.close(output_writer)
            os.close(errors_writer)
        reach("shim.after_spawn")
        self._has_children = True
        self._open = {output: captured or self._output, errors: self._errors}
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        if step.name == "unpack":
            self._tell_started()
        elif not self._told_running:
            self._told_running = True
            self._tell("running", None)
        while self._main_status is None or self._has_children:
            self._turn()
        for descriptor in list(self._open):
            self._pump(descriptor, drain=True)
        if captured is not None and self._main_status != 0 and not self._stop_reason:
            full = os.WIFEXITED(self._main_status) and os.WEXITSTATUS(self._main_status) == UNPACK_DISK_FULL
            text = captured.text() or f"unpacking the workdir ended with {status_text(self._main_status)}"
            raise NotStarted("disk_full" if full else "workdir_failed", text)
        return self._main_status

    # The loop --------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Wait for the next thing to happen, and do what it asks for."""
        next_at = min(self._limit_at, self._term_at, self._kill_at, self._lease_at, self._log_notice_at, self._progress_at)
        for descriptor, _ in self._poll.poll(max(0.0, next_at - time.monotonic()) * 1000):
            if descriptor == self._worker.wake:
                self._take_signals()
            else:
                self._pump(descriptor)
        now = time.monotonic()
        if now >= self._lease_at:
            self._check_lease(now)
        if now >= self._limit_at:
            self._limit_at = _NEVER
            self._stop("time_limit", self._request["grace_seconds"])
        if now >= self._term_at:
            self._term_at = _NEVER
            self._signal_tree(signal.SIGTERM)
        if now >= self._kill_at:
            self._kill_at = now + _KILL_AGAIN_SECONDS
            self._kill_tree()
        if now >= self._log_notice_at:
            self._log_notice_at = _NEVER
            self._tell("log", None)
        if now >= self._progress_at:
            self._progress_at = _NEVER
            self._save_progress()

    def _take_signals(self) -> None:
        numbers = os.read(self._worker.wake, 4096)
        if signal.SIGCHLD in numbers:
            self._reap()
        if signal.SIGUSR1 in numbers:
            self._lease_at = 0.0
            self._check_stop_file()

    def _reap(self) -> None:
        self._meter.before_wait()
        largest: resource.struct_rusage | None = None
        try:
            while True:
                pid, status, used = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                largest = used if largest is None or used.ru_maxrss > largest.ru_maxrss else largest
                if pid == self._main:
                    self._main_status = status
        except ChildProcessError:
            self._has_children = False
        self._meter.after_wait(largest)
        if self._main_status is not None and self._has_children and not self._stop_reason:
            self._kill_at = min(self._kill_at, time.monotonic())

    def _pump(self, descriptor: int, *, drain: bool = False) -> None:
        """Move what was printed into the spool. With `drain`, all of it, and then no more."""
        stream = self._open[descriptor]
        for _ in range(_DRAIN_READS if drain else _READS_PER_TURN):
            try:
                data = os.read(descriptor, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                drain = True
                break
            stream.feed(data)
            if len(data) < 4096:
                break
        if self._log_notice_at == _NEVER and self._spool.position:
            self._log_notice_at = time.monotonic() + _LOG_NOTICE_SECONDS
        if stream.progress is not self._printed and self._progress_at == _NEVER and stream is self._output:
            self._progress_at = time.monotonic() + _PROGRESS_SECONDS
        if drain:
            self._poll.unregister(descriptor)
            os.close(descriptor)
            del self._open[descriptor]

    # Ending it -------------------------------------------------------------------------------------------------------

    def _check_lease(self, now: float) -> None:
        left = lease.seconds_left(self._request["state_folder"], self._request["epoch"], self._request["boot_id"])
        if left > 0:
            self._lease_at = now + left
            return
        self._lease_at = _NEVER
        self._stop("lease_expired", LEASE_GRACE_SECONDS, notice=signal.SIGTERM)

    def _check_stop_file(self) -> None:
        stop = task_folder.read(self._folder, task_folder.STOP)
        if stop is not None:
            self._stop(stop["reason"], stop["grace_seconds"])

    def _stop(self, reason: str, grace_seconds: float, notice: int | None = None) -> None:
        """Begin to end the task. A second stop can only shorten the grace."""
        now = time.monotonic()
        again = self._stop_reason is not None
        if not again or reason == "lease_expired":
            self._stop_reason = reason
        self._kill_at = min(self._kill_at, now + grace_seconds)
        if again and reason != "lease_expired":
            return
        if not again:
            self._tell("stopping", {"reason": reason})
        number = notice or (self._request["notice"] if reason in NOTICE_REASONS else signal.SIGTERM)
        if number != signal.SIGTERM:
            self._term_at = max(now, self._kill_at - min(TERM_BEFORE_KILL_SECONDS, grace_seconds / 4))
        self._signal_tree(number)

    def _signal_tree(self, number: int) -> None:
        """Tell every process of the task. A notice skips the shell that we put around the user's text: it would die of it."""
        members = set(self._groups.members()) | set(processes.descendants(os.getpid()))
        if self._main_is_shell and number != signal.SIGTERM and len(members) > 1:
            members.discard(self._main)
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _kill_tree(self) -> None:
        self._groups.kill()
        for pid in processes.descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # Telling ---------------------------------------------------------------------------------------------------------

    def _result(self, status: int | None, reason: str | None, message: str | None) -> dict[str, Any]:
        signalled = status is not None and os.WIFSIGNALED(status)
        left = None
        if self._request.get("result"):
            try:
                left = task_result(self._folder)
            except BadResult as error:
                if status == 0 and reason is None:
                    reason, message = "result_failed", str(error)
        return {
            "started_at": self._started_at,
            "ended_at": clock.timestamp(),
            "exit_code": os.WEXITSTATUS(status) if status is not None and not signalled else None,
            "signal": os.WTERMSIG(status) if status is not None and signalled else None,
            "reason": reason,
            "message": message,
            "usage": self._meter.total(self._groups),
            "progress": last_progress(self._folder, self._output.progress),
            **({} if left is None else {"result": left}),
            "log_bytes": self._spool.position,
        }

    def _save(self, lock: int, result: dict[str, Any]) -> None:
        """Leave the result on disk; while the disk is full, try again for a minute: the agent hears of it anyway."""
        deadline = time.monotonic() + _WRITE_RESULT_SECONDS
        told = False
        reach("shim.before_finish")
        while True:
            try:
                task_folder.finish(lock, result)
                break
            except OSError:
                if not told:
                    self._tell("ended", result)
                    told = True
                if time.monotonic() > deadline or not os.path.isdir(self._folder):
                    return
                time.sleep(0.5)
        reach("shim.after_finish")
        if not told:
            self._tell("ended", result)

    def _save_progress(self) -> None:
        self._printed = self._output.progress
        if self._printed is not None:
            with contextlib.suppress(OSError):
                task_folder.replace_bytes(f"{self._folder}/{task_folder.PROGRESS_PRINTED}", self._printed)

    def _tell(self, event: str, value: dict[str, Any] | None) -> None:
        """Send a line to the agent, if one listens and has room. Whoever misses it finds the same on disk."""
        line = self._line(event, value)
        if len(self._untold) + len(line) > select.PIPE_BUF:
            self._tell_started()
        line, self._untold = self._untold + line, b""
        with contextlib.suppress(OSError):
            os.write(self._worker.events, line)

    def _tell_started(self) -> None:
        line, self._untold = self._untold, b""
        with contextlib.suppress(OSError):
            os.write(self._worker.events, line)

    def _line(self, event: str, value: dict[str, Any] | None) -> bytes:
        line = json.dumps([self._request["key"], event, value]).encode() + b"\n"
        if len(line) > select.PIPE_BUF:  # longer ones could be mixed with others'
            line = json.dumps([self._request["key"], event, None]).encode() + b"\n"
        return line
