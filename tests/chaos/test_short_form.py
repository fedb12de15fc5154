"""The suite itself, in short: `nox -s chaos` is the long form, with InvokeAI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import faults
from tests.chaos.conductor import Run, conduct
from tests.chaos.faults import Kind

PROGRAMS = ["api-1", "sweeper-1", "worker-1", "worker-2", "worker-invokeai"]


@pytest.mark.timeout(240)  # it waits for quiet as long as it takes, on a busy machine
def test_a_few_seconds_of_chaos_lose_nothing(tmp_path: Path) -> None:
    run = Run(
        seed=13,  # one that kills some process of each kind
        seconds=10,
        rates=faults.DENSE,
        folder=tmp_path,
        workers=2,
        organizations=3,
        jobs_per_second=3,
    )
    outcome = conduct(run, report=print, progress=lambda passed, struck: None)
    assert outcome.verdict.broken == []
    assert outcome.struck.total() == len(outcome.plan)
    killed = {target.split("-")[0] for kind, target in outcome.struck if kind in faults.KILLS}
    assert killed == {"api", "worker", "sweeper", "webhooks", "postgres", "valkey"}


def test_the_plan_is_a_function_of_its_seed_and_spares_nothing() -> None:
    plan = faults.plan(7, 600, PROGRAMS, faults.STEADY)
    assert (
        plan == faults.plan(7, 600, PROGRAMS, faults.STEADY) != faults.plan(8, 600, PROGRAMS, faults.STEADY)
    )
    assert plan == sorted(plan)
    assert all(0 <= fault.at <= 600 for fault in plan)
    killed = [fault.target for fault in plan if fault.kind in faults.KILLS]
    assert set(killed) == {*PROGRAMS, "postgres", "valkey"}
    assert len(killed) > 70
    assert {(fault.kind, fault.target) for fault in plan} >= {
        (kind, server) for kind in (Kind.CUT, Kind.REFUSE, Kind.HANG) for server in faults.SERVERS
    }
