"""What must happen with payments though nobody asks for it: the sweeper's part, in the payments role."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from impasto_billing.payments import events
from impasto_billing.payments.provider import PaymentProvider, ProviderName
from impasto_billing.payments.providers import make_providers
from impasto_billing.payments.top_up import top_up
from impasto_billing.payments.usage import report_usage
from impasto_core.database import Database
from impasto_core.settings import Settings

BATCH = 50
"""Events that are handled at a time."""


class Chores:
    def __init__(self, database: Database, providers: Mapping[ProviderName, PaymentProvider]) -> None:
        self._database = database
        self._providers = providers

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """None where no provider is configured."""
        providers = make_providers(settings)
        if not providers or settings.payments_database_url is None:
            return None
        return cls(Database(settings.payments_database_url.get_secret_value(), pool_size=2), providers)

    async def do(self, now: datetime) -> None:
        """One pass, which may be cut short at any point."""
        async with self._database.session() as session:
            for name in self._providers:
                await events.note_reconciliation(session, name, now)
            await events.forget_old(session, now)
        for _ in range(BATCH):
            if await events.handle_next(self._database, self._providers, now) is None:
                break
        await top_up(self._database, self._providers, now)
        await report_usage(self._database, self._providers, now)

    async def close(self) -> None:
        for provider in self._providers.values():
            await provider.close()
        await self._database.close()
