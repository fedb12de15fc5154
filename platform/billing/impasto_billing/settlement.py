"""What a job has cost, settled and told in the transaction that ends it.

A job that succeeded costs its quote, or less where it was quoted by time and took less. One that failed costs
nothing. One that was canceled pays for the denoising steps that ran. No job costs more than was quoted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing import low_balance
from impasto_billing.ledger import service as ledger
from impasto_billing.prices import LineItem, Meter, Quote, Receipt
from impasto_billing.spending import service as spending
from impasto_core.jobs.tables import Job, JobStatus
from impasto_core.webhooks import outbox


@dataclass(frozen=True)
class Usage:
    """What the last attempt did: the share of the job's denoising steps that ran, and the time of its run.

    Earlier attempts do not count: that a worker was lost is not the caller's to pay.
    """

    denoised: Fraction = Fraction(0)
    gpu_seconds: float = 0.0


NOTHING = Usage()


async def settle(session: AsyncSession, job: Job, usage: Usage = NOTHING) -> None:
    """What follows from the end of a job: it is paid for, and its webhooks are due.

    Call it in the transaction of the transition, last. A job that goes back to the queue is left as it is.
    """
    if not JobStatus(job.status).is_final:
        return
    cost = await _charge_for(session, job, Quote.model_validate(job.quote), usage) if job.quote else None
    await outbox.publish_end(session, job, cost=cost)


async def _charge_for(session: AsyncSession, job: Job, quote: Quote, usage: Usage) -> int:
    """Write the receipt, capture what the job cost, and release the rest of its hold. The credits.

    Tells the organization where it has few left.
    """
    receipt = make_receipt(quote, JobStatus(job.status), usage)
    job.cost = receipt.model_dump(mode="json")
    session.add(job)
    await session.flush()  # before the locks that others wait for
    if receipt.refunded:
        await spending.refund(
            session,
            organization_id=job.organization_id,
            api_key_id=job.api_key_id,
            at=job.created_at,
            amount=receipt.refunded,
        )
    await ledger.settle(session, organization_id=job.organization_id, job_id=job.id, cost=receipt.amount)
    assert job.finished_at is not None  # noqa: S101
    await low_balance.tell(session, job.organization_id, job.finished_at)
    return receipt.amount


def make_receipt(quote: Quote, status: JobStatus, usage: Usage) -> Receipt:
    """The receipt of a job that ended in that status."""
    charged = (_charge(item, status, usage) for item in quote.line_items)
    return quote.receipt([item for item in charged if item is not None])


def _charge(item: LineItem, status: JobStatus, usage: Usage) -> LineItem | None:
    """What of a quoted item is paid."""
    if status is JobStatus.FAILED:
        return None
    if item.meter is Meter.GPU_SECONDS:
        units = math.ceil(usage.gpu_seconds)
    elif status is JobStatus.SUCCEEDED:
        return item
    else:
        units = math.ceil(item.units * usage.denoised)
    if units == 0 and status is JobStatus.CANCELED:
        return None
    return item.for_units(min(units, item.units))
