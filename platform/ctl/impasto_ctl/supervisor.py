"""Keeps the platform's own processes alive: started together, restarted when they crash, stopped together."""

from __future__ import annotations

import http.client
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.error import URLError

from impasto_ctl.process import Child, describe_exit, stop_together
from impasto_ctl.state import StateDirectory


@dataclass(frozen=True)
class Program:
    """What to run, and how to tell that it is up: a URL answers 200, or a file appears, or it just runs."""

    name: str
    argv: Sequence[str | Path]
    environ: Mapping[str, str]
    ready_url: str | None = None
    ready_file: Path | None = None
    ready_within: float = 60  # seconds

    def is_ready(self) -> bool:
        if self.ready_file is not None:
            return self.ready_file.exists()
        return self.ready_url is None or _answers(self.ready_url)


class Supervisor:
    """Starts every program on entry, in order, and returns when all are ready; stops all on exit.

    A program that ends before it was ever ready is a mistake in the set-up: entering raises ChildFailed.
    Later it is a crash: `tend`, called several times a second, starts it again after a pause that doubles
    from `first_pause` to `longest_pause` seconds, and begins anew once the program has stayed up that long.
    Programs have `grace` seconds to stop.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        state: StateDirectory,
        *,
        report: Callable[[str], None] = lambda message: None,
        grace: float = 8,
        first_pause: float = 1,
        longest_pause: float = 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._programs = programs
        self._state = state
        self._report = report
        self._grace = grace
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._clock = clock
        self._kept: list[_Kept] = []

    def __enter__(self) -> Self:
        try:
            for program in self._programs:
                self._kept.append(_Kept(program, self._state.new_log(program.name), self._clock))
            for kept in self._kept:
                kept.child.wait_until(kept.program.is_ready, kept.program.ready_within)
                self._report(f"{kept.program.name} is ready")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    @property
    def children(self) -> list[Child]:
        return [kept.child for kept in self._kept]

    def tend(self) -> None:
        """Starts again what has crashed and paused for long enough. Never waits."""
        now = self._clock()
        for kept in self._kept:
            if kept.restart_at is not None:
                if now >= kept.restart_at:
                    kept.start()
            elif kept.child.exit_code is not None:
                self._plan_restart(kept, kept.child.exit_code, now)

    def _plan_restart(self, kept: _Kept, exit_code: int, now: float) -> None:
        if now - kept.started_at > self._longest_pause:
            kept.crashes = 0
        pause = min(self._first_pause * 2**kept.crashes, self._longest_pause)
        kept.crashes += 1
        kept.restart_at = now + pause
        self._report(
            f"{kept.program.name} ended with {describe_exit(exit_code)}; it starts again in {pause:g} s."
            f" See {kept.log}"
        )

    def _stop(self) -> None:
        stop_together(self.children, within=self._grace)


class _Kept:
    """A program and its current child."""

    def __init__(self, program: Program, log: Path, clock: Callable[[], float]) -> None:
        self.program = program
        self.log = log
        self._clock = clock
        self.crashes = 0
        self.start()

    def start(self) -> None:
        program = self.program
        if program.ready_file is not None:
            program.ready_file.unlink(missing_ok=True)
        self.child = Child(program.name, program.argv, log=self.log, environ=program.environ)
        self.started_at = self._clock()
        self.restart_at: float | None = None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310
            return bool(response.status == http.HTTPStatus.OK)
    except (URLError, OSError, http.client.HTTPException):  # A server that is not ready says so with 503.
        return False
