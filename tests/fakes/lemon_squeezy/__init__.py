"""Lemon Squeezy, as far as Impasto uses it: strict about attributes, with state and signed webhooks."""

from tests.fakes.lemon_squeezy.server import create_app
from tests.fakes.lemon_squeezy.store import Store

__all__ = ["Store", "create_app"]
