"""Why jobs fail, and which failures the platform tries again by itself.

The one table of it is RETRIES. What is not in it is final: the same job would fail in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel


class ErrorCode(StrEnum):
    """As callers read them: docs/api.md explains each."""

    NODE_FAILED = "node-failed"
    INVALID_GRAPH = "invalid-graph"
    INPUT_MISSING = "input-missing"
    MODEL_REMOVED = "model-removed"
    TIME_LIMIT = "time-limit"
    POISONED = "poisoned"
    OUT_OF_MEMORY = "out-of-memory"
    DEVICE_FAILED = "device-failed"
    MODEL_UNAVAILABLE = "model-unavailable"
    STORAGE_UNAVAILABLE = "storage-unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Retries:
    """`attempts` that may fail in this way before the job does, and the pause after the first of them."""

    attempts: int
    pause: timedelta

    def delay(self, failed: int) -> timedelta:
        """After `failed` attempts: the pause doubles with each, up to a minute."""
        return min(timedelta(minutes=1), self.pause * (1 << failed - 1))


RETRIES: Mapping[str, Retries] = {
    ErrorCode.OUT_OF_MEMORY: Retries(2, timedelta(0)),  # models that were cached have made room for it
    ErrorCode.DEVICE_FAILED: Retries(3, timedelta(0)),  # its worker ends, and the next has a sound device
    ErrorCode.MODEL_UNAVAILABLE: Retries(4, timedelta(seconds=5)),
    ErrorCode.STORAGE_UNAVAILABLE: Retries(8, timedelta(seconds=2)),
    ErrorCode.INTERNAL: Retries(2, timedelta(seconds=5)),
}


class JobError(BaseModel):
    """Why a job failed, in words for its owner. `retryable`: the same request may succeed another time."""

    code: str
    message: str
    node_id: str | None = None
    node_type: str | None = None
    retryable: bool = False

    @classmethod
    def of(
        cls, code: ErrorCode, message: str, *, node_id: str | None = None, node_type: str | None = None
    ) -> Self:
        return cls(
            code=code, message=message, node_id=node_id, node_type=node_type, retryable=code in RETRIES
        )

    @property
    def retries(self) -> Retries | None:
        """None where it is final."""
        return RETRIES.get(self.code)
