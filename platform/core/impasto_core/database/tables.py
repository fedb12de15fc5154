"""Every table, imported in one place: what the migrations are compared with."""

from sqlmodel import SQLModel

from impasto_core.api_keys.tables import ApiKey
from impasto_core.idempotency.tables import IdempotencyRecord
from impasto_core.images.tables import Image
from impasto_core.jobs.tables import Job, JobAttempt, QueueShare
from impasto_core.models.tables import Model
from impasto_core.organizations.tables import Membership, Organization, StorageUsage, User
from impasto_core.uploads.tables import Upload
from impasto_core.webhooks.tables import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    WebhookSecret,
)
from impasto_core.workflows.tables import Workflow, WorkflowVersion

__all__ = [
    "ApiKey",
    "IdempotencyRecord",
    "Image",
    "Job",
    "JobAttempt",
    "Membership",
    "Model",
    "Organization",
    "QueueShare",
    "StorageUsage",
    "Upload",
    "User",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
    "WebhookSecret",
    "Workflow",
    "WorkflowVersion",
    "metadata",
]

metadata = SQLModel.metadata
