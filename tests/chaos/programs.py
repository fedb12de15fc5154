"""The platform's processes as `impastoctl up` starts them, but several of each."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from impasto_core.database import Role
from impasto_ctl.embedded import EmbeddedServers
from impasto_ctl.programs import ApiAddress, platform_programs
from impasto_ctl.supervisor import Program

ROOT = Path(__file__).parents[2]

INVOKEAI_POOL = "invokeai"

LEASE_SECONDS = 5
"""Short, so that a killed worker's job comes back soon, and pauses outlast it now and then."""


def replicas(
    servers: EmbeddedServers,
    database_urls: Mapping[Role, str],
    *,
    pepper: str,
    workers: int,
    worker_python: Path | None,
) -> list[Program]:
    """Two APIs, sweepers and dispatchers of webhooks, `workers` with a brush, and one with InvokeAI where an
    interpreter that has it is named."""
    state = servers.state
    programs: list[Program] = []
    for number in (1, 2):
        api, worker, sweeper, webhooks = platform_programs(
            servers,
            database_urls,
            api=ApiAddress("127.0.0.1", state.port(f"api-{number}")),
            pepper=pepper,
            worker_python=worker_python or Path(sys.executable),
        )
        hasty = replace(webhooks, argv=[sys.executable, "-m", "tests.chaos.hasty_webhooks"])
        programs += [_one_of_many(program, number) for program in (api, sweeper, hasty)]
    brush = replace(worker, argv=[sys.executable, "-m", "tests.support.brush_worker"])
    programs += [_worker(brush, str(number), servers, "default") for number in range(1, workers + 1)]
    if worker_python is not None:
        programs.append(_worker(worker, "invokeai", servers, INVOKEAI_POOL))
    return programs


def _one_of_many(program: Program, number: int | str, **further: str) -> Program:
    """Each has a port of its own for metrics, if any: none here."""
    environ = {name: value for name, value in program.environ.items() if name != "IMPASTO_METRICS_PORT"}
    ours = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "IMPASTO_LEASE_SECONDS": str(LEASE_SECONDS),
        "IMPASTO_SWEEP_SECONDS": "0.5",
        "IMPASTO_WORKER_GRACE_SECONDS": "5",
    }
    return replace(program, name=f"{program.name}-{number}", environ=environ | ours | further)


def _worker(program: Program, name: str, servers: EmbeddedServers, pool: str) -> Program:
    ready_file = servers.state.path / f"worker-{name}.ready"
    return replace(
        _one_of_many(
            program,
            name,
            IMPASTO_WORKER_POOL=pool,
            IMPASTO_WORKER_READY_FILE=str(ready_file),
            IMPASTO_WORKER_DATA_DIR=str(servers.state.folder(f"worker-{name}")),
            BRUSH_STEP_SECONDS="0.25",
        ),
        ready_file=ready_file,
    )
