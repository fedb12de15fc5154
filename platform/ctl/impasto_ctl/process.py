"""Child processes that log to a file, die with us, and stop within a deadline. Linux only, for prctl."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from impasto_ctl.errors import ChildFailed

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Child:
    """A running child process.

    It gets a process group of its own, so that Ctrl-C reaches only us and we choose the order in which
    things stop. `stop_signal` asks it to end. When we die, by SIGKILL even, the kernel sends it
    `death_signal`. Beware: to the kernel the parent is the thread that started the child, so let that thread
    outlive the child. Raises ChildFailed when the program is not there.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        log: Path,
        environ: Mapping[str, str],
        folder: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGKILL,
        keep_open: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        self._log_start = log.stat().st_size if log.exists() else 0
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: S603
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environ,
                    cwd=folder,
                    process_group=0,
                    pass_fds=keep_open,
                    preexec_fn=die_with_parent(death_signal),
                )
        except OSError as error:
            raise ChildFailed(f"{name} cannot be run: {error}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    def wait_until(self, is_ready: Callable[[], bool], within: float) -> None:
        """Returns once `is_ready()`. Raises ChildFailed if the child ends first or `within` seconds pass."""
        deadline = time.monotonic() + within
        while not is_ready():
            if self.exit_code is not None:
                raise self.failure(f"ended with {describe_exit(self.exit_code)} while starting")
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready after {within:g} s")
            time.sleep(0.02)

    def wait_for_success(self, within: float) -> None:
        """Returns when the child has ended with 0. Raises ChildFailed otherwise."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.wait_for_end(within=0)
            raise self.failure(f"did not end within {within:g} s") from None
        if code != 0:
            raise self.failure(f"ended with {describe_exit(code)}")

    def ask_to_stop(self) -> None:
        if self.exit_code is None:
            self._process.send_signal(self._stop_signal)

    def wait_for_end(self, within: float) -> None:
        """Kills the child and its process group where it has not ended after `within` seconds."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def failure(self, problem: str) -> ChildFailed:
        return ChildFailed(f"{self.name} {problem}. The end of {self.log}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that this child wrote, indented."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            written = log.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in written[-lines:]) or "    (it wrote nothing)"


def stop_together(children: Sequence[Child], within: float = 10) -> None:
    """Asks all to stop, then waits for all: `within` seconds for the lot."""
    deadline = time.monotonic() + within
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.wait_for_end(max(0.0, deadline - time.monotonic()))


def describe_exit(code: int) -> str:
    """An exit code in words: `code 3`, `SIGKILL`."""
    return f"code {code}" if code >= 0 else signal.Signals(-code).name


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """For `preexec_fn`: what it returns makes two system calls in the child before it becomes the program."""
    return partial(_die_with_parent, death_signal, os.getpid())


def _die_with_parent(death_signal: signal.Signals, parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # It died before we could ask.
        os._exit(1)
