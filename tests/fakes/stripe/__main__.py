"""`python -m tests.fakes.stripe`: the fake on a port of its own, whose customers pay as soon as they can."""

from __future__ import annotations

import argparse
import asyncio

import uvicorn

from impasto_core.clock import utc_now
from tests.fakes.stripe import Account, create_app

PRICES = {"starter": 25_00, "pro": 75_00, "studio": 150_00}


async def attend(account: Account) -> None:
    """Play the customers, and deliver what there is to tell."""
    while True:
        for session in account.all("checkout.session"):
            if session["status"] == "open":
                account.complete_checkout(session["id"])
        await account.webhooks.deliver()
        await asyncio.sleep(0.2)


async def main(port: int, webhook_url: str, secret_key: str, webhook_secret: str) -> None:
    account = Account(utc_now, secret_key=secret_key, webhook_secret=webhook_secret)
    account.webhooks.url = webhook_url
    for plan, price in PRICES.items():
        account.add_price(f"impasto_{plan}", price)
    server = uvicorn.Server(
        uvicorn.Config(create_app(account), host="127.0.0.1", port=port, log_level="warning")
    )
    attending = asyncio.create_task(attend(account))
    await server.serve()
    attending.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--webhook-url", required=True)
    parser.add_argument("--secret-key", default="sk_test_fake")
    parser.add_argument("--webhook-secret", default="whsec_fake")
    given = parser.parse_args()
    asyncio.run(main(given.port, given.webhook_url, given.secret_key, given.webhook_secret))
