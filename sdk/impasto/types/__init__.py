"""What the API answers, as pydantic models."""

from .api_key import ApiKey, NewApiKey
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
from .job import AsyncImageList, AsyncJob, ImageList, Job, JobFailure, JobStatus
from .model import Model
from .pipeline import Pipeline, PipelineLimits
from .upload import Upload
from .usage import StorageUsage, Usage

__all__ = [
    "ApiKey",
    "AsyncEvent",
    "AsyncImage",
    "AsyncImageList",
    "AsyncJob",
    "Canceled",
    "CreditBalance",
    "CreditEntry",
    "CreditGrant",
    "Event",
    "Failed",
    "Image",
    "ImageEvent",
    "ImageList",
    "ImageToImage",
    "Job",
    "JobFailure",
    "JobStatus",
    "Model",
    "NewApiKey",
    "Node",
    "Pipeline",
    "PipelineLimits",
    "Queued",
    "Started",
    "Step",
    "StorageUsage",
    "Succeeded",
    "TextToImage",
    "Upload",
    "Usage",
]
