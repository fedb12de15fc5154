"""The kinds of events that endpoints can ask for."""

from __future__ import annotations

from enum import StrEnum

from impasto_core.jobs.tables import JobStatus


class EventType(StrEnum):
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELED = "job.canceled"
    CREDITS_LOW = "credits.low"
    SPEND_CAP_ALERT = "spend_cap.alert"
    INVOICE_PAID = "invoice.paid"
    ENDPOINT_DISABLED = "webhook_endpoint.disabled"
    TEST = "webhook.test"


END_OF_JOB = {
    JobStatus.SUCCEEDED: EventType.JOB_SUCCEEDED,
    JobStatus.FAILED: EventType.JOB_FAILED,
    JobStatus.CANCELED: EventType.JOB_CANCELED,
}
