"""A platform with customers: its processes, organizations with credits, and where their webhooks go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio.from_thread import BlockingPortal

from impasto_core.database import Database
from impasto_core.models.service import folder_digest
from impasto_core.settings import Settings
from impasto_ctl.development import install_demo_model, prepare_database
from impasto_ctl.embedded import EmbeddedServers
from impasto_ctl.supervisor import Program, Supervisor
from impasto_demo_model import IMPASTO_SHAPES, model_folder
from tests.chaos.customers import Customer
from tests.chaos.programs import INVOKEAI_POOL, replicas
from tests.chaos.receiver import Receiver
from tests.chaos.servers import Servers
from tests.support.servers import serve
from tests.support.tenants import make_tenant, register_model

ON_INVOKEAI = "shapes-on-invokeai"
"""The demo model again, in the pool of the worker that has InvokeAI."""

RESTART_SECONDS = 0.5


@dataclass(frozen=True)
class House:
    programs: list[Program]
    customers: list[Customer]
    receiver: Receiver
    _supervisor: Supervisor
    _servers: Servers

    def tend(self) -> None:
        """Start again what was killed, as an orchestrator does."""
        self._servers.tend()
        self._supervisor.tend()

    @property
    def names(self) -> list[str]:
        return [program.name for program in self.programs]

    def pid(self, name: str) -> int | None:
        """The process of that name, if it is up; a worker is once it takes jobs."""
        program = next(program for program in self.programs if program.name == name)
        child = next(child for child in self._supervisor.children if child.name == name)
        is_up = child.exit_code is None and (program.ready_file is None or program.ready_file.exists())
        return child.pid if is_up else None


@contextmanager
def open_house(
    folder: Path,
    servers: Servers,
    portal: BlockingPortal,
    *,
    seed: int,
    organizations: int,
    workers: int,
    worker_python: Path | None,
    report: Callable[[str], None],
) -> Iterator[House]:
    owner_url = servers.postgres.url
    with ExitStack() as undo:
        platform = undo.enter_context(EmbeddedServers(folder, environ=servers.through_proxies()))
        state = platform.state
        pepper = state.secret("api_key_pepper")
        urls = asyncio.run(prepare_database(owner_url, state))
        urls = {role: servers.proxied("postgres", url) for role, url in urls.items()}
        programs = replicas(platform, urls, pepper=pepper, workers=workers, worker_python=worker_python)
        keys = asyncio.run(
            _furnish(owner_url, pepper, organizations, with_invokeai=worker_python is not None)
        )
        supervisor = undo.enter_context(
            Supervisor(
                programs,
                state,
                report=lambda message: None if "SIGKILL" in message else report(message),  # that was us
                first_pause=RESTART_SECONDS,
                longest_pause=RESTART_SECONDS,
            )
        )
        apis = [program.ready_url.removesuffix("/readyz") for program in programs if program.ready_url]
        models = [IMPASTO_SHAPES.slug] + [ON_INVOKEAI] * (worker_python is not None)
        receiver = portal.call(Receiver, seed)
        receiver.base_url = undo.enter_context(portal.wrap_async_context_manager(serve(receiver.app)))
        customers = []
        for name, key in keys.items():
            customer = portal.call(Customer, name, key, apis, models, seed, receiver)
            undo.callback(portal.call, customer.close)
            portal.call(customer.subscribe)
            customers.append(customer)
        yield House(programs, customers, receiver, supervisor, servers)


async def _furnish(owner_url: str, pepper: str, organizations: int, *, with_invokeai: bool) -> dict[str, str]:
    """Models and organizations. Returns their API keys by their names."""
    await install_demo_model(owner_url)
    owner = Database(owner_url, pool_size=1)
    settings = Settings(database_url=owner_url, redis_url="redis://unused", api_key_pepper=pepper)
    try:
        if with_invokeai:
            await register_model(
                owner,
                ON_INVOKEAI,
                source=model_folder().as_uri(),
                digest=folder_digest(model_folder()),
                pool=INVOKEAI_POOL,
            )
        names = [f"organization-{number}" for number in range(1, organizations + 1)]
        return {name: (await make_tenant(owner, settings)).api_key for name in names}
    finally:
        await owner.close()
