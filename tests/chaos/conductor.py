"""A run: a platform goes up, customers come, the plan of faults is carried out, and quiet is waited for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.chaos import faults
from tests.chaos.faults import Fault, Kind
from tests.chaos.house import House, open_house
from tests.chaos.servers import Servers, pause
from tests.chaos.verdict import Verdict, judge, unfinished
from tests.support.proxy import Proxy

TICK_SECONDS = 0.05

LATE_SECONDS = 60
"""So long a fault waits for its target to be up; then it is left out, and the table says so."""

QUIET_SECONDS = 180
"""After the last fault, until everything must have come to its end."""


@dataclass(frozen=True)
class Run:
    """What is asked for."""

    seed: int
    seconds: float
    rates: faults.Rates
    folder: Path
    worker_python: Path | None = None
    """An interpreter that has InvokeAI, for one worker that does."""
    workers: int = 3
    """Besides that one."""
    organizations: int = 5
    jobs_per_second: float = 1.5


@dataclass(frozen=True)
class Outcome:
    plan: list[Fault]
    struck: Counter[tuple[Kind, str]]
    """Faults that were carried out."""
    house: House
    verdict: Verdict
    quiet_seconds: float
    """From the last fault until nothing was left to do."""

    @property
    def kills(self) -> int:
        return sum(number for (kind, _), number in self.struck.items() if kind in faults.KILLS)


def conduct(run: Run, *, report: Callable[[str], None], progress: Callable[[float, int], None]) -> Outcome:
    """`report` is told what happens; `progress`, many times a second, the seconds that have passed and how
    many faults were carried out."""
    with start_blocking_portal() as portal, ExitStack() as undo:
        servers = undo.enter_context(Servers(run.folder / "servers", portal))
        house = undo.enter_context(
            open_house(
                run.folder / "platform",
                servers,
                portal,
                seed=run.seed,
                organizations=run.organizations,
                workers=run.workers,
                worker_python=run.worker_python,
                report=report,
            )
        )
        plan = faults.plan(run.seed, run.seconds, house.names, run.rates)
        for fault in plan:
            report(f"planned: {fault}")
        closing = portal.call(asyncio.Event)
        every = run.organizations / run.jobs_per_second
        visits = [portal.start_task_soon(customer.shop, every, closing) for customer in house.customers]
        undo.callback(lambda: [visit.cancel() for visit in visits])

        storm = _Storm(plan, house, servers, portal, report)
        began = time.monotonic()
        while (passed := time.monotonic() - began) < run.seconds or storm.rages:
            storm.strike(passed)
            house.tend()
            progress(passed, storm.struck.total())
            time.sleep(TICK_SECONDS)

        portal.call(closing.set)
        report(f"{passed:7.1f} s  the faults are over; waiting for quiet")
        quiet_seconds = _wait_for_quiet(portal, house, visits)
        report(f"quiet after {quiet_seconds:.1f} s")
        verdict = portal.call(judge, house.customers, house.receiver, servers.postgres.url)
        return Outcome(plan, storm.struck, house, verdict, quiet_seconds)


def _wait_for_quiet(portal: BlockingPortal, house: House, visits: Sequence[Future[None]]) -> float:
    """Until every customer was served and nothing is queued, running or unannounced; or time is up, which is
    for the verdict to say. Returns the seconds that it took."""
    began = asked_at = time.monotonic()
    while time.monotonic() - began < QUIET_SECONDS:
        house.tend()
        time.sleep(TICK_SECONDS)
        if time.monotonic() - asked_at > 1 and all(visit.done() for visit in visits):
            for visit in visits:
                visit.result()
            asked_at = time.monotonic()
            if portal.call(unfinished, house.customers, house.receiver) == 0:
                break
    return time.monotonic() - began


class _Storm:
    """Carries out a plan. A fault whose target is down waits until it is up."""

    def __init__(
        self,
        plan: Sequence[Fault],
        house: House,
        servers: Servers,
        portal: BlockingPortal,
        report: Callable[[str], None],
    ) -> None:
        self.struck: Counter[tuple[Kind, str]] = Counter()
        self._due = list(plan)
        self._house = house
        self._servers = servers
        self._portal = portal
        self._report = report
        self._pauses: list[subprocess.Popen[bytes]] = []
        self._network: list[Future[None]] = []

    @property
    def rages(self) -> bool:
        """Whether a fault is due or lasts."""
        return bool(
            self._due
            or any(helper.poll() is None for helper in self._pauses)
            or any(not trouble.done() for trouble in self._network)
        )

    def strike(self, passed: float) -> None:
        for fault in [fault for fault in self._due if fault.at <= passed]:
            if self._carry_out(fault):
                self._report(f"{passed:7.1f} s  {fault.kind} {fault.target}")
                self.struck[fault.kind, fault.target] += 1
                self._due.remove(fault)
            elif passed - fault.at > LATE_SECONDS:
                self._report(f"{passed:7.1f} s  left out, its target is down: {fault}")
                self._due.remove(fault)

    def _carry_out(self, fault: Fault) -> bool:
        match fault.kind:
            case Kind.KILL:
                return _kill(self._pid(fault.target))
            case Kind.CRASH:
                return _kill(self._servers.backend())
            case Kind.PAUSE:
                pid = self._pid(fault.target)
                if pid is not None:
                    self._pauses.append(pause(pid, fault.seconds))
                return pid is not None
            case Kind.CUT:
                self._network.append(self._portal.start_task_soon(self._proxy(fault).cut))
            case Kind.REFUSE:
                self._network.append(self._portal.start_task_soon(self._proxy(fault).refuse, fault.seconds))
            case Kind.HANG:
                self._network.append(self._portal.start_task_soon(self._proxy(fault).hang, fault.seconds))
        return True

    def _pid(self, name: str) -> int | None:
        return self._servers.pid(name) if name in faults.SERVERS else self._house.pid(name)

    def _proxy(self, fault: Fault) -> Proxy:
        return self._servers.proxies[fault.target]


def _kill(pid: int | None) -> bool:
    if pid is None:
        return False
    os.kill(pid, signal.SIGKILL)
    return True
