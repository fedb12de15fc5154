"""The judge notices what is lost: else a run without complaints would say nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from impasto.types import AsyncJob
from impasto_core.settings import Settings
from impasto_core.storage import ObjectStore
from tests.chaos.customers import Customer, Order
from tests.chaos.receiver import Receiver
from tests.chaos.verdict import Verdict, judge
from tests.support.databases import DatabaseUrls
from tests.support.painters import Painter
from tests.support.tenants import Tenant

ADDRESS = "acme-endpoint"


@pytest.fixture
def receiver() -> Receiver:
    return Receiver(seed=1)


@pytest.fixture
async def customer(base_url: str, tenant: Tenant, receiver: Receiver) -> AsyncIterator[Customer]:
    customer = Customer("acme", tenant.api_key, [base_url], ["impasto-shapes"], 1, receiver)
    yield customer
    await customer.close()


async def order(customer: Customer, *, announced_to: Receiver | None = None) -> AsyncJob:
    job = await customer.api.jobs.create("text-to-image", {"prompt": "a heart"})
    order = Order(customer.name, f"key-{len(customer.orders)}", 1, [ADDRESS], [job.id])
    customer.orders.append(order)
    if announced_to is not None:
        announced_to.take(ADDRESS, f"msg_{job.id}", {"type": "job.succeeded", "data": {"id": job.id}})
    return job


def promises_broken(verdict: Verdict) -> set[str]:
    return {name for name, check in vars(verdict).items() if check in verdict.checks and check.broken}


async def test_it_has_no_complaint_where_all_is_well(
    customer: Customer, receiver: Receiver, painter: Painter, urls: DatabaseUrls
) -> None:
    await order(customer, announced_to=receiver)
    await painter.paint_next()
    verdict = await judge([customer], receiver, urls.owner)
    assert verdict.broken == []
    assert all(
        check.checked for check in (verdict.readable, verdict.announced, verdict.charged, verdict.drift)
    )


async def test_it_notices_what_is_lost_and_what_is_told_wrongly(
    customer: Customer, receiver: Receiver, painter: Painter, urls: DatabaseUrls, settings: Settings
) -> None:
    lost_file = await order(customer, announced_to=receiver)
    unannounced = await order(customer)
    for _ in range(2):
        await painter.paint_next()
    [image] = (await customer.api.jobs.get(lost_file.id)).images
    await ObjectStore(settings).delete([image.url.split("?")[0].split(f"/{settings.s3_bucket}/")[1]])
    unfinished = await order(customer, announced_to=receiver)
    await customer.api.jobs.create("text-to-image", {"prompt": "that nobody knows of"})
    customer.orders[0].answers.append(unannounced.id)
    customer.orders[1].heard.add("failed")

    verdict = await judge([customer], receiver, urls.owner)

    assert promises_broken(verdict) == {
        "one_job",
        "no_other",
        "one_end",
        "readable",
        "charged",
        "held",
        "announced",
    }
    assert [unannounced.id in complaint for complaint in verdict.announced.broken] == [True]
    assert [unfinished.id in complaint for complaint in verdict.charged.broken] == [True]
    assert len(verdict.one_end.broken) == 2, "one has not ended, and of one another end was told"
