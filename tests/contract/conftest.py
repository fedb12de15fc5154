"""The contract is tested on the same API as everything else."""

from tests.api.conftest import anonymous, app, base_url, client, clock, painter, stranger, tenant

__all__ = ["anonymous", "app", "base_url", "client", "clock", "painter", "stranger", "tenant"]
