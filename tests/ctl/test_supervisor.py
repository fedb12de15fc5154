"""The supervisor, on small stand-ins for the platform's processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from impasto_ctl.errors import ChildFailed
from impasto_ctl.process import Child
from impasto_ctl.state import StateDirectory
from impasto_ctl.supervisor import Program, Supervisor
from tests.support.processes import Script, alive, eventually


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state")


def python(name: str, source: str, **readiness: object) -> Program:
    return Program(name, [sys.executable, "-c", source], os.environ, **readiness)  # type: ignore[arg-type]


SLEEP = "import time; time.sleep(600)"
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


def test_it_waits_until_every_program_is_ready(state: StateDirectory) -> None:
    flag = state.path / "worker.ready"
    flag.touch()  # left over from a run before: not to be believed
    port = state.port("api")
    worker = f"import pathlib, time; pathlib.Path({str(flag)!r}).write_text('warm'); time.sleep(600)"
    api = (
        "import http.server, pathlib, sys\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    unready = 2\n"
        "    def do_GET(self):\n"
        "        Handler.unready -= 1\n"
        "        self.send_response(200 if Handler.unready < 0 else 503); self.end_headers()\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), Handler).serve_forever()"
    )
    reports: list[str] = []
    programs = [
        python("api", api, ready_url=f"http://127.0.0.1:{port}/readyz"),
        python("worker", worker, ready_file=flag),
        python("sweeper", SLEEP),
    ]
    with Supervisor(programs, state, report=reports.append) as supervisor:
        assert reports == ["api is ready", "worker is ready", "sweeper is ready"]
        assert flag.read_text() == "warm"
        pids = {child.pid for child in supervisor.children}
    assert not alive(pids)


def test_a_program_that_cannot_start_shows_why_and_takes_the_others_down(state: StateDirectory) -> None:
    broken = python("worker", "raise SystemExit('no such device: cuda:9')", ready_file=state.path / "never")
    supervisor = Supervisor([python("sweeper", SLEEP), broken], state)
    with pytest.raises(
        ChildFailed, match=r"(?s)worker ended with code 1 while starting.*no such device: cuda:9"
    ):
        supervisor.__enter__()
    assert not alive({child.pid for child in supervisor.children})


def test_a_program_that_is_not_there_is_named(state: StateDirectory) -> None:
    absent = Program("worker", ["/nowhere/python"], os.environ)
    with pytest.raises(ChildFailed, match=r"worker cannot be run: .*/nowhere/python"):
        Supervisor([absent], state).__enter__()


def test_a_program_that_is_not_ready_in_time_is_given_up(state: StateDirectory) -> None:
    slow = python("worker", SLEEP, ready_file=state.path / "never", ready_within=0.2)
    with pytest.raises(ChildFailed, match=r"worker was not ready after 0\.2 s"):
        Supervisor([slow], state).__enter__()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_crashed_program_is_started_again_and_the_crash_told(state: StateDirectory) -> None:
    reports: list[str] = []
    clock = Clock()
    with Supervisor([python("worker", SLEEP)], state, report=reports.append, clock=clock) as supervisor:
        supervisor.tend()
        crashed = supervisor.children[0]
        os.kill(crashed.pid, signal.SIGKILL)
        eventually(lambda: crashed.exit_code is not None, "it survived SIGKILL")
        supervisor.tend()
        clock.now = 1.0
        supervisor.tend()
        assert supervisor.children[0].pid != crashed.pid
        assert alive({supervisor.children[0].pid})
    assert reports[1:] == [f"worker ended with SIGKILL; it starts again in 1 s. See {crashed.log}"]


def test_the_pause_between_restarts_doubles_until_the_program_stays_up(state: StateDirectory) -> None:
    clock = Clock()
    program = python("worker", "print('again', flush=True); raise SystemExit(3)")
    with Supervisor([program], state, longest_pause=4, clock=clock) as supervisor:

        def pause_after_crash() -> int:
            """Seconds until it is started again; the clock stands there afterwards."""
            crashed = supervisor.children[0]
            eventually(lambda: crashed.exit_code is not None, "it does not crash")
            for seconds in range(100):
                supervisor.tend()
                if supervisor.children[0] is not crashed:
                    return seconds
                clock.now += 1
            pytest.fail("it was not started again")

        assert [pause_after_crash() for _ in range(5)] == [1, 2, 4, 4, 4]
        clock.now += 5  # it stayed up for longer than the longest pause
        assert pause_after_crash() == 1
        log = supervisor.children[0].log
    assert log.read_text().count("again") >= 6  # one log for all attempts


def test_a_program_that_ignores_sigterm_is_killed(state: StateDirectory) -> None:
    with Supervisor([python("worker", DEAF)], state, grace=0.1) as supervisor:
        child: Child = supervisor.children[0]
        eventually(lambda: "deaf" in child.log.read_text(), "it did not start")
    assert child.exit_code == -signal.SIGKILL


def test_programs_are_asked_to_stop_before_they_are_killed(state: StateDirectory) -> None:
    source = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('gave my job back', flush=True), sys.exit(0)))\n"
        "print('up', flush=True)\ntime.sleep(600)"
    )
    with Supervisor([python("worker", source)], state) as supervisor:
        child = supervisor.children[0]
        eventually(lambda: "up" in child.log.read_text(), "it did not start")
    assert child.exit_code == 0
    assert "gave my job back" in child.log.read_text()


def test_kill_9_of_the_supervisor_leaves_no_program_behind(
    tmp_path: Path, run: Callable[..., Script]
) -> None:
    source = """
import os, pathlib, signal, sys
from impasto_ctl.state import StateDirectory
from impasto_ctl.supervisor import Program, Supervisor
deaf = [sys.executable, "-c", sys.argv[2]]
programs = [Program(name, deaf, os.environ) for name in ("api", "worker", "sweeper")]
with Supervisor(programs, StateDirectory(pathlib.Path(sys.argv[1]))):
    print("up", flush=True)
    signal.pause()
"""
    supervisor = run("-c", source, tmp_path, DEAF)
    assert supervisor.line() == "up"
    family = supervisor.family()
    assert len(family) == 3
    supervisor.kill()
    eventually(lambda: not alive(family), "a program outlived its supervisor")
