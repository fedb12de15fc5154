"""Stripe, as far as Impasto uses it: strict about parameters, with state, idempotency and signed webhooks."""

from tests.fakes.stripe.account import Account
from tests.fakes.stripe.server import create_app
from tests.fakes.stripe.webhooks import Delivery

__all__ = ["Account", "Delivery", "create_app"]
