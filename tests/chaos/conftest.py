"""An API with a painter who plays the worker, to judge."""

from tests.api.conftest import app, base_url, clock, painter, tenant

__all__ = ["app", "base_url", "clock", "painter", "tenant"]
