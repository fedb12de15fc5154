"""What a user of the SDK learns of money, on the real API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI

import impasto
from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.sdk.conftest import Sdk
from tests.sdk.real_api.conftest import connect
from tests.support.painters import Painter
from tests.support.tenants import make_tenant

LARGE = {"prompt": "a big red heart", "width": 512, "height": 512, "steps": 100, "n": 2}
"""52.4 million pixel-steps at 0.1 credits a million: 6 credits."""


@pytest.fixture
async def poor(
    transport: str,
    base_url: str,
    app: FastAPI,
    sdk: Sdk,
    owner_database: Database,
    settings: Settings,
) -> AsyncIterator[Sdk]:
    """The SDK of an organization on the free plan, with 5 credits."""
    tenant = await make_tenant(owner_database, settings, plan="free", balance=5)
    async with connect(transport, base_url, app, tenant.api_key) as sdk:
        yield sdk


def quote(client: Any, **more: Any) -> Any:
    return client.quotes.create("text-to-image", LARGE, **more)


def create(client: Any, **more: Any) -> Any:
    return client.jobs.create("text-to-image", LARGE, **more)


async def test_a_job_is_quoted_made_and_has_a_receipt(sdk: Sdk, painter: Painter) -> None:
    quoted = await sdk(quote)
    assert (quoted.amount, quoted.covered, quoted.available) == (6, True, 1_000_000)
    assert quoted.line_items[0].unit_price == Decimal("0.1")
    job = await sdk(create)
    assert job.quote.line_items == quoted.line_items
    assert job.cost is None
    await painter.paint_next()
    done = await sdk(lambda client: client.jobs.get(job.id))
    assert (done.cost.amount, done.cost.refunded) == (6, 0)
    assert done.cost.line_items == quoted.line_items


async def test_a_job_above_its_max_cost_is_refused(sdk: Sdk) -> None:
    with pytest.raises(impasto.QuoteAboveMaxCostError, match="quoted at 6 credits") as caught:
        await sdk(lambda client: create(client, max_cost=5))
    assert (caught.value.quote, caught.value.max_cost) == (6, 5)
    with pytest.raises(impasto.QuoteAboveMaxCostError):
        await sdk(lambda client: client.images.generate(**LARGE, max_cost=5))


async def test_not_enough_credits_say_how_many_are_missing_and_where_to_get_them(
    poor: Sdk, settings: Settings
) -> None:
    one_image = LARGE | {"n": 1, "steps": 60}
    for _ in range(2):
        await poor(lambda client: client.jobs.create("text-to-image", one_image))
    with pytest.raises(impasto.NotEnoughCreditsError) as caught:
        await poor(lambda client: client.jobs.create("text-to-image", one_image))
    error = caught.value
    assert (error.required, error.available, error.top_up_url) == (2, 1, settings.top_up_url)


async def test_what_the_plan_lacks_says_which_plan_has_it(poor: Sdk) -> None:
    with pytest.raises(impasto.NotInPlanError, match="2 images in one job") as caught:
        await poor(create)
    assert (caught.value.plan, caught.value.allowed_by) == ("free", "starter")
    slugs = [plan.id for plan in await poor.all(lambda client: client.plans.list())]
    assert slugs == ["free", "starter", "pro", "studio", "enterprise"]


async def test_a_cap_is_set_reached_and_deleted(sdk: Sdk) -> None:
    cap = await sdk(lambda client: client.spend_caps.set(10))
    await sdk(create)
    with pytest.raises(impasto.SpendCapReachedError) as caught:
        await sdk(create)
    error = caught.value
    assert (error.required, error.spent, error.cap, error.api_key_id) == (6, 6, 10, None)
    assert isinstance(error, impasto.PaymentRequiredError)
    [listed] = await sdk.all(lambda client: client.spend_caps.list())
    assert (listed.id, listed.spent) == (cap.id, 6)
    [alert] = await sdk.all(lambda client: client.spend_alerts.list())
    assert (alert.percent, alert.cap, alert.spent) == (50, 10, 6)
    await sdk(lambda client: client.spend_caps.delete(cap.id))
    await sdk(create)


async def test_a_key_can_be_capped(sdk: Sdk) -> None:
    key = await sdk(lambda client: client.api_keys.create("intern"))
    cap = await sdk(lambda client: client.spend_caps.set(10, api_key_id=key.id))
    assert cap.api_key_id == key.id
