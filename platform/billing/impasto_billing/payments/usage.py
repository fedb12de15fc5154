"""Pay-as-you-go: what each finished job cost is reported to the provider's meter, once for each job.

The job's id is the identifier of its report. A crash between the report and our note of it repeats the
report, and the provider, which knows the identifier, does not count it again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import text

from impasto_billing.payments.provider import (
    PaymentProvider,
    ProviderError,
    ProviderName,
    ProviderUnavailable,
)
from impasto_billing.payments.tables import UsageReport
from impasto_core.database import Database
from impasto_core.ids import format_id

logger = logging.getLogger(__name__)

BATCH = 50

LOOK_BACK = timedelta(days=7)
"""How long the provider may be away before usage is lost to it."""

_UNREPORTED = text(
    """
    SELECT settled.job_id, settled.organization_id, settled.created_at, customer_id, provider,
        sum(amount)::bigint AS credits
    FROM billing_customers
    JOIN ledger_transactions AS settled ON settled.organization_id = billing_customers.organization_id
        AND settled.kind = 'settle' AND settled.created_at >= greatest(metered_since, :since)
    JOIN ledger_entries ON transaction_id = settled.id
    JOIN ledger_accounts ON ledger_accounts.id = account_id AND ledger_accounts.kind = 'spent'
    WHERE metered_since IS NOT NULL AND provider = ANY (:providers)
        AND NOT EXISTS (SELECT 1 FROM usage_reports WHERE usage_reports.job_id = settled.job_id)
    GROUP BY settled.id, billing_customers.id
    HAVING sum(amount) > 0
    -- In turns: what is refused for one customer, and so stays, must not fill the batch.
    ORDER BY row_number() OVER (PARTITION BY billing_customers.id ORDER BY settled.id), settled.id
    LIMIT :limit
    """
)


async def report_usage(
    database: Database, providers: Mapping[ProviderName, PaymentProvider], now: datetime
) -> int:
    """How many jobs were reported. Needs the payments role."""
    async with database.session() as session:
        connection = await session.connection()
        values = {"since": now - LOOK_BACK, "providers": list(providers), "limit": BATCH}
        unreported = (await connection.execute(_UNREPORTED, values)).all()
    reported = 0
    for job in unreported:
        try:
            await providers[job.provider].report_usage(
                job.customer_id,
                identifier=format_id("job", job.job_id),
                amount=job.credits,
                at=job.created_at,
            )
        except ProviderUnavailable as error:
            logger.warning("usage waits: %s", error)
            break
        except ProviderError as error:  # this customer's trouble is not the others'
            logger.warning("the usage of job %s waits: %s", job.job_id, error)
            continue
        async with database.session() as session:
            session.add(
                UsageReport(
                    job_id=job.job_id,
                    organization_id=job.organization_id,
                    credits=job.credits,
                    reported_at=now,
                )
            )
        reported += 1
    return reported
