"""What the API answers, as pydantic models."""

from .api_key import ApiKey, NewApiKey
from .billing import AutoTopUp, CheckoutSession, Invoice, Pack, PortalSession, Subscription
from .credits import CreditBalance, CreditEntry, CreditGrant
from .event import (
    AsyncEvent,
    Canceled,
    Event,
    Failed,
    ImageEvent,
    Node,
    Queued,
    Started,
    Step,
    Succeeded,
)
from .image import AsyncImage, Image
from .inputs import ImageToImage, TextToImage
from .job import AsyncImageList, AsyncJob, CancelReason, ImageList, Job, JobFailure, JobStatus, QueuePlace
from .model import Model
from .node import Graph, NodeDetails, NodeInput, NodeOutput, NodeSummary
from .pipeline import Pipeline, PipelineLimits
from .plan import Plan
from .quote import LineItem, Quote, QuoteWithBalance, Receipt
from .spending import SpendAlert, SpendCap
from .upload import Upload
from .usage import StorageUsage, Usage
from .webhook import (
    NewWebhookEndpoint,
    Redelivery,
    WebhookAttempt,
    WebhookDelivery,
    WebhookDeliveryDetails,
    WebhookEndpoint,
    WebhookSecret,
)
from .workflow import (
    EdgeReference,
    FieldChange,
    NodeChange,
    NodeReference,
    Workflow,
    WorkflowDiff,
    WorkflowReference,
    WorkflowVersion,
    WorkflowVersionDetails,
)

__all__ = [
    "ApiKey",
    "AsyncEvent",
    "AsyncImage",
    "AsyncImageList",
    "AsyncJob",
    "AutoTopUp",
    "CancelReason",
    "Canceled",
    "CheckoutSession",
    "CreditBalance",
    "CreditEntry",
    "CreditGrant",
    "EdgeReference",
    "Event",
    "Failed",
    "FieldChange",
    "Graph",
    "Image",
    "ImageEvent",
    "ImageList",
    "ImageToImage",
    "Invoice",
    "Job",
    "JobFailure",
    "JobStatus",
    "LineItem",
    "Model",
    "NewApiKey",
    "NewWebhookEndpoint",
    "Node",
    "NodeChange",
    "NodeDetails",
    "NodeInput",
    "NodeOutput",
    "NodeReference",
    "NodeSummary",
    "Pack",
    "Pipeline",
    "PipelineLimits",
    "Plan",
    "PortalSession",
    "QueuePlace",
    "Queued",
    "Quote",
    "QuoteWithBalance",
    "Receipt",
    "Redelivery",
    "SpendAlert",
    "SpendCap",
    "Started",
    "Step",
    "StorageUsage",
    "Subscription",
    "Succeeded",
    "TextToImage",
    "Upload",
    "Usage",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookDeliveryDetails",
    "WebhookEndpoint",
    "WebhookSecret",
    "Workflow",
    "WorkflowDiff",
    "WorkflowReference",
    "WorkflowVersion",
    "WorkflowVersionDetails",
]
