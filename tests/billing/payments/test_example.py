"""examples/buy_credits.py, from end to end: SDK, API, a Stripe that is a fake, webhooks, the sweeper."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.billing.payments.shop import FakeShop

EXAMPLE = Path(__file__).parents[3] / "examples/buy_credits.py"


async def test_the_example_buys_credits(shop: FakeShop, base_url: str) -> None:
    environment = os.environ | {
        "IMPASTO_API_KEY": shop.books.tenant.api_key,
        "IMPASTO_BASE_URL": base_url,
    }
    example = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLE, "medium", env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert example.stdout is not None
    printed = [(await example.stdout.readline()).decode().strip() for _ in range(3)]
    assert printed[:2] == ["balance  0 credits", "buying   10,000 credits for 55.00 USD"]
    [checkout] = shop.account.all("checkout.session")
    assert printed[2] == f"pay at   {checkout['url']}"

    shop.account.complete_checkout(checkout["id"])
    await shop.settle()
    rest, _ = await asyncio.wait_for(example.communicate(), 60)
    assert rest.decode().strip() == "balance  10000 credits"
    assert example.returncode == 0
