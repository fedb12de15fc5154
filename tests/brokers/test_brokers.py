"""A job is a row in PostgreSQL: what happens to the broker may delay it, and that is all."""

from __future__ import annotations

import signal
from typing import Any

import httpx

from tests.brokers.conftest import BrokerServer
from tests.support.brokers import both_brokers
from tests.support.job_desk import until
from tests.support.programs import Program

pytestmark = both_brokers


async def create(client: httpx.AsyncClient, **values: object) -> str:
    body = {"pipeline": "text-to-image", "input": {"prompt": "a heart", "width": 64, "height": 64} | values}
    created = await client.post("/v1/jobs", json=body)
    assert created.status_code == 202, created.text
    job_id: str = created.json()["id"]
    return job_id


async def get(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}")).raise_for_status().json()
    return job


async def until_status(client: httpx.AsyncClient, job_id: str, status: str) -> dict[str, Any]:
    async def is_so() -> bool:
        return str((await get(client, job_id))["status"]) == status

    await until(is_so, f"{job_id} is not {status}")
    return await get(client, job_id)


async def test_a_broker_that_forgets_everything_loses_no_job(
    client: httpx.AsyncClient, worker: Program, sweeper: Program, broker_server: BrokerServer
) -> None:
    running = await create(client, n=4)
    await until_status(client, running, "running")
    queued = [await create(client) for _ in range(2)]
    broker_server.forget()
    for job_id in (running, *queued):
        assert (await until_status(client, job_id, "succeeded"))["attempt"] == 1


async def test_while_the_broker_is_down_jobs_are_accepted_and_they_run_when_it_is_back(
    client: httpx.AsyncClient, worker: Program, sweeper: Program, broker_server: BrokerServer
) -> None:
    running = await create(client, n=4)
    await until_status(client, running, "running")
    before = await create(client)
    broker_server.kill()
    meanwhile = [await create(client) for _ in range(2)]
    assert (await until_status(client, running, "succeeded"))["attempt"] == 1, "it needs no broker any more"
    broker_server.start()
    for job_id in (before, *meanwhile):
        assert (await until_status(client, job_id, "succeeded"))["attempt"] == 1

    sweeper.close()
    await until_status(client, await create(client), "succeeded")  # API and worker hear each other again
    worker.send(signal.SIGTERM)
    assert worker.wait(within=10) == 0, worker.log.read_text()
