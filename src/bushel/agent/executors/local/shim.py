"""The watcher of one task: a small process that outlives the agent, the launcher and `bushel down`.

Guarantees: it starts the task at most once ever (`folder.claim`); it never waits for the agent or the control plane; it ends the whole
tree of processes when the time limit, the lease or a stop says so: a signal, the grace, SIGKILL; it leaves the result on disk
before it lets go of the task's lock. If it is killed itself, the kernel kills the task's first process, and the
next look of an agent kills the rest and reports the task as lost.

What the task leaves running when its first process ends is killed at once; after a stop, when the grace is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time

from bushel.agent import clock, lease
from bushel.agent.executors.local import folder as task_folder
from bushel.agent.executors.local import processes
from bushel.agent.executors.local.cgroups import TaskGroups
from bushel.agent.executors.local.child import Step, become
from bushel.agent.executors.local.progress import last_progress
from bushel.agent.executors.local.spool import Masker, OutputStream, Spool
from bushel.agent.executors.local.usage import UsageMeter
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LEASE_GRACE_SECONDS = 2.0
"""Between SIGTERM and SIGKILL when the lease has run out; within `domain.leases.KILL_SECONDS`."""

CHECKPOINTED_EXIT_CODE = 75
NOTICE_REASONS = ("preempted", "time_limit")
TERM_BEFORE_KILL_SECONDS = 5.0
"""After another notice than SIGTERM, SIGTERM follows so long before the kill, or at three quarters of a short grace."""

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


def run(request: dict[str, Any], events: int) -> None:
    """Carry out one task from `request` (see `executor`), in a fork of the launcher. Returns when it has ended."""
    os.setsid()
    processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
    processes.set_name(b"bushel-shim")
    Shim(request, events).run()


class Shim:
    def __init__(self, request: dict[str, Any], events: int) -> None:
        self._request = request
        self._folder: str = request["folder"]
        self._events = events
        self._groups = TaskGroups(request["cgroups"])
        self._meter = UsageMeter()
        self._spool = Spool(f"{self._folder}/log", request["log_spool_bytes"])
        masker = Masker(request["secrets"])
        self._output = OutputStream("stdout", self._spool, masker)
        self._errors = OutputStream("stderr", self._spool, masker)
        self._open: dict[int, OutputStream] = {}
        self._poll = select.poll()
        self._wake, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._main = 0
        self._main_status: int | None = None
        self._has_children = False
        self._failure: int | None = None
        self._failure_text = b""
        self._told_running = False
        self._stop_reason: str | None = None
        self._stop_by_shell = False
        self._never = float("inf")
        self._limit_at = self._term_at = self._kill_at = self._log_notice_at = self._progress_at = self._never
        self._lease_at = 0.0
        self._printed: bytes | None = None

    def run(self) -> None:
        request = self._request
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        self._started_at = clock.timestamp()
        reach("shim.before_mark")
        mark = {
            **request["facts"],
            "pid": os.getpid(),
            "start_ticks": processes.start_ticks(os.getpid()),
            "boot_id": request["boot_id"],
            "epoch": request["epoch"],
            "started_at": self._started_at,
            "cgroups": self._groups.paths,
            "mark": request["mark"],
        }
        try:
            lock = task_folder.claim(self._folder, mark)
        except OSError as error:
            self._tell("ended", self._result(None, "disk_full", f"the task could not be recorded: {error.strerror}"))
            return
        if lock is None:
            return  # somebody else started it, and reports it
        reach("shim.after_mark")
        self._tell("started", mark)
        self._watch_signals()
        self._limit_at = time.monotonic() + request["time_limit_seconds"]
        result = self._carry_out()
        self._save(result)
        self._groups.remove()
        for name in request["folders"]:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(self._folder, name))  # only if the task left it empty

    # The task --------------------------------------------------------------------------------------------------------

    def _carry_out(self) -> dict[str, Any]:
        request = self._request
        limits = request["limits"]
        try:
            for name in ("work", *request["folders"]):
                os.makedirs(os.path.join(self._folder, name), exist_ok=True)
            if self._groups.paths:
                self._groups.create(cpu_milli=limits["cpu_milli"], memory_bytes=limits["memory_bytes"])
            status = None
            for step in self._steps():
                self._check_stop_file()
                if self._stop_reason:
                    break
                status = self._run_step(step)
                if step.name != "run" and status != 0 and not self._stop_reason:
                    return self._result(status, "setup_failed", f"setup ended with {_status_text(status)}: see its output")
            return self._result(status, *self._judge(status))
        except NotStarted as failure:
            if self._stop_reason:
                return self._result(None, self._stop_reason, None)
            return self._result(None, failure.reason, failure.message)
        except OSError as error:
            reason = "disk_full" if error.errno in (28, 122) else "start_failed"
            return self._result(None, reason, f"the task could not be prepared: {error.strerror} ({error.filename})")
        finally:
            self._output.close()
            self._errors.close()
            self._spool.close()

    def _steps(self) -> list[Step]:
        request = self._request
        steps = [Step("unpack", ["unpack"])] if request["workdir"] else []
        if request["setup"]:
            steps.append(Step("setup", request["setup"], by_shell=True))
        return [*steps, Step("run", request["run"], by_shell=request["by_shell"])]

    def _judge(self, status: int | None) -> tuple[str | None, str | None]:
        """The reason and the message of the end, where the exit code does not say it all."""
        if status is not None and status != 0 and self._groups.out_of_memory_kills():
            most = self._request["limits"]["memory_bytes"]
            return "out_of_memory", f"the task needed more than its {most} bytes of memory"
        if self._stop_reason:
            return self._stop_reason, None
        if status is None:
            return "task_lost", "the end of the task was not seen"
        if os.WIFSIGNALED(status):
            return "signalled", f"ended by {_status_text(status)}"
        code = os.WEXITSTATUS(status)
        if code == CHECKPOINTED_EXIT_CODE:
            return "checkpointed", None
        return ("exit_code", f"exit code {code}") if code else (None, None)

    def _run_step(self, step: Step) -> int:
        """Run one step to its end, with everything that it leaves behind. Returns the wait status of its first process.

        Raises:
            NotStarted: its program never ran.
        """
        output, output_writer = os.pipe2(os.O_CLOEXEC)
        errors, errors_writer = os.pipe2(os.O_CLOEXEC)
        failure, failure_writer = os.pipe2(os.O_CLOEXEC)
        shim = os.getpid()
        reach("shim.before_fork")
        self._main = os.fork()
        if self._main == 0:
            become(step, self._request, self._groups, shim, (output_writer, errors_writer, failure_writer))
        reach("shim.after_fork")
        for descriptor in (output_writer, errors_writer, failure_writer):
            os.close(descriptor)
        self._main_status, self._has_children = None, True
        if not self._stop_reason:
            self._kill_at = self._never
        self._stop_by_shell = step.by_shell
        self._failure, self._failure_text = failure, b""
        self._open = {output: self._output, errors: self._errors}
        for descriptor in (output, errors):
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        self._poll.register(failure, select.POLLIN)
        if self._stop_reason:
            self._signal_tree(signal.SIGTERM)
        while self._main_status is None or self._has_children:
            self._turn()
        for descriptor in list(self._open):
            self._pump(descriptor, drain=True)
        if self._failure is not None:
            self._read_failure()
        if self._failure_text:
            failed = json.loads(self._failure_text)
            raise NotStarted(failed["reason"], failed["message"])
        assert self._main_status is not None
        return self._main_status

    # The loop --------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Wait for the next thing to happen, and do what it asks for."""
        next_at = min(self._limit_at, self._term_at, self._kill_at, self._lease_at, self._log_notice_at, self._progress_at)
        now = time.monotonic()
        wait = None if next_at == self._never else max(0.0, next_at - now) * 1000
        for descriptor, _ in self._poll.poll(wait):
            if descriptor == self._wake:
                self._take_signals()
            elif descriptor == self._failure:
                self._read_failure()
            else:
                self._pump(descriptor)
        now = time.monotonic()
        if now >= self._lease_at:
            self._check_lease(now)
        if now >= self._limit_at:
            self._limit_at = self._never
            self._stop("time_limit", self._request["grace_seconds"])
        if now >= self._term_at:
            self._term_at = self._never
            self._signal_tree(signal.SIGTERM)
        if now >= self._kill_at:
            self._kill_at = now + _KILL_AGAIN_SECONDS
            self._kill_tree()
        if now >= self._log_notice_at:
            self._log_notice_at = self._never
            self._tell("log", None)
        if now >= self._progress_at:
            self._progress_at = self._never
            self._save_progress()

    def _watch_signals(self) -> None:
        self._poll.register(self._wake, select.POLLIN)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGUSR1):
            signal.signal(number, _nothing)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)  # it is stopped by its task's end alone
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _take_signals(self) -> None:
        numbers = os.read(self._wake, 4096)
        if signal.SIGCHLD in numbers:
            self._reap()
        if signal.SIGUSR1 in numbers:
            self._lease_at = 0.0
            self._check_stop_file()

    def _reap(self) -> None:
        self._meter.before_wait()
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self._main:
                    self._main_status = status
        except ChildProcessError:
            self._has_children = False
        self._meter.after_wait()
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
        if self._log_notice_at == self._never and self._spool.position:
            self._log_notice_at = time.monotonic() + _LOG_NOTICE_SECONDS
        if stream.progress is not self._printed and self._progress_at == self._never and stream is self._output:
            self._progress_at = time.monotonic() + _PROGRESS_SECONDS
        if drain:
            self._poll.unregister(descriptor)
            os.close(descriptor)
            del self._open[descriptor]

    def _read_failure(self) -> None:
        """The step's program has started, or says why not."""
        assert self._failure is not None
        data = os.read(self._failure, 4096)
        self._failure_text += data
        if data:
            return
        self._poll.unregister(self._failure)
        os.close(self._failure)
        self._failure = None
        if not self._failure_text and not self._told_running:
            self._told_running = True
            self._tell("running", None)

    # Ending it -------------------------------------------------------------------------------------------------------

    def _check_lease(self, now: float) -> None:
        left = lease.seconds_left(self._request["state_folder"], self._request["epoch"], self._request["boot_id"])
        if left > 0:
            self._lease_at = now + left
            return
        self._lease_at = self._never
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
        if self._main == 0:
            return
        members = set(self._groups.members()) | set(processes.descendants(os.getpid()))
        if self._stop_by_shell and number != signal.SIGTERM and len(members) > 1:
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
        return {
            "started_at": self._started_at,
            "ended_at": clock.timestamp(),
            "exit_code": os.WEXITSTATUS(status) if status is not None and not signalled else None,
            "signal": os.WTERMSIG(status) if status is not None and signalled else None,
            "reason": reason,
            "message": message,
            "usage": self._meter.total(self._groups),
            "progress": last_progress(self._folder, self._output.progress),
            "log_bytes": self._spool.position,
        }

    def _save(self, result: dict[str, Any]) -> None:
        """Leave the result on disk; while the disk is full, try again for a minute: the agent hears of it anyway."""
        deadline = time.monotonic() + _WRITE_RESULT_SECONDS
        told = False
        reach("shim.before_result")
        while True:
            try:
                task_folder.replace(f"{self._folder}/{task_folder.RESULT}", result)
                break
            except OSError:
                if not told:
                    self._tell("ended", result)
                    told = True
                if time.monotonic() > deadline or not os.path.isdir(self._folder):
                    return
                time.sleep(0.5)
        reach("shim.after_result")
        if not told:
            self._tell("ended", result)

    def _save_progress(self) -> None:
        self._printed = self._output.progress
        if self._printed is not None:
            with contextlib.suppress(OSError):
                task_folder.replace_bytes(f"{self._folder}/{task_folder.PROGRESS_PRINTED}", self._printed)

    def _tell(self, event: str, value: dict[str, Any] | None) -> None:
        """Send a line to the agent, if one listens and has room. Whoever misses it finds the same on disk."""
        line = json.dumps([self._request["key"], event, value]).encode() + b"\n"
        if len(line) > select.PIPE_BUF:  # longer ones could be mixed with others'
            line = json.dumps([self._request["key"], event, None]).encode() + b"\n"
        with contextlib.suppress(OSError):
            os.write(self._events, line)


def _nothing(_number: int, _frame: object) -> None:
    """Signals only wake the loop."""


def _status_text(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"signal {number} ({signal.Signals(number).name})" if number in signal.valid_signals() and number < 32 else f"signal {number}"
    return f"exit code {os.WEXITSTATUS(status)}"
