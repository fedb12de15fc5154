"""All of Impasto on this machine: servers, processes, and what they need to paint a first picture."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from impasto_ctl.console import Progress
from impasto_ctl.development import (
    development_key,
    install_demo_model,
    prepare_database,
)
from impasto_ctl.embedded import EmbeddedServers
from impasto_ctl.programs import ApiAddress, platform_programs
from impasto_ctl.supervisor import Supervisor


class LocalPlatform:
    """Starts on entry, stops on exit. `tend`, called several times a second, keeps it going meanwhile."""

    base_url: str
    api_key: str
    metrics_urls: list[str]
    """For Prometheus: of API, worker, sweeper and dispatcher."""

    def __init__(
        self, state_dir: Path, *, worker_python: Path, progress: Progress, with_sqs: bool = False
    ) -> None:
        self._progress = progress
        self._worker_python = worker_python
        self._servers = EmbeddedServers(state_dir, with_sqs=with_sqs, report=progress.done)
        self.state = self._servers.state

    def __enter__(self) -> Self:
        with self._progress, ExitStack() as undo:
            self._progress.doing("Starting the servers")
            undo.enter_context(self._servers)
            self._start(undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._progress:
            self._progress.doing("Stopping")
            self._undo.close()

    def tend(self) -> None:
        """Restarts processes that crashed. Raises ChildFailed when a server did: nothing works without it."""
        self._servers.check()
        self._supervisor.tend()

    @property
    def owner_url(self) -> str:
        """The database, as its owner sees it."""
        return self._servers.database_url

    @property
    def redis_url(self) -> str:
        return self._servers.redis_url

    def pid_of(self, program: str) -> int:
        """The process id of `api`, `worker`, `sweeper` or `webhooks`."""
        return next(child.pid for child in self._supervisor.children if child.name == program)

    def _start(self, undo: ExitStack) -> None:
        state, owner_url = self.state, self._servers.database_url
        pepper = os.environ.get("IMPASTO_API_KEY_PEPPER") or state.secret("api_key_pepper")
        state.remember(database_url=owner_url)  # for an operator's commands in another terminal

        self._progress.doing("Preparing the database")
        database_urls = asyncio.run(prepare_database(owner_url, state))
        self.api_key = asyncio.run(development_key(owner_url, state, pepper))
        asyncio.run(install_demo_model(owner_url))
        self._progress.done("The database is ready")

        self._progress.doing("Starting API, worker, sweeper and dispatcher: the worker loads InvokeAI")
        api = ApiAddress(
            host=os.environ.get("IMPASTO_API_HOST", "127.0.0.1"),
            port=int(os.environ.get("IMPASTO_API_PORT") or state.port("api")),
        )
        self.base_url = api.url
        programs = platform_programs(
            self._servers, database_urls, api=api, pepper=pepper, worker_python=self._worker_python
        )
        host = os.environ.get("IMPASTO_METRICS_HOST", "127.0.0.1")
        self.metrics_urls = [
            f"http://{host}:{program.environ['IMPASTO_METRICS_PORT']}/metrics" for program in programs
        ]
        self._supervisor = undo.enter_context(Supervisor(programs, state, report=self._progress.done))
