"""Buy a pack of credits. Needs a key that may: `impastoctl keys create acme --scope billing:read ...`.

python examples/buy_credits.py small

`nox -s buy_credits` runs it against a Stripe that is a fake, whose customers pay at once.
"""

import sys
import time

from impasto import Impasto

BACK = "http://localhost:8000/"  # your own page, of a host in IMPASTO_PAYMENT_RETURN_HOSTS

with Impasto() as client:
    packs = {pack.id: pack for pack in client.billing.packs()}
    pack = packs[sys.argv[1] if len(sys.argv) > 1 else "small"]
    before = client.credits.balance().available
    print(f"balance  {before} credits")

    checkout = client.billing.create_checkout_session(pack=pack.id, success_url=BACK, cancel_url=BACK)
    print(f"buying   {pack.name} for {pack.price_cents / 100:.2f} {pack.currency.upper()}")
    print(f"pay at   {checkout.url}")

    while (after := client.credits.balance().available) == before:
        time.sleep(1)
    print(f"balance  {after} credits")
