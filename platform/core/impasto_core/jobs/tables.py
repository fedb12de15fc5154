"""jobs, job_attempts and queue_shares."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, SmallInteger, func, text
from sqlmodel import Field, SQLModel

from impasto_core.database.columns import (
    created_now,
    json_column,
    ordered_json_column,
    organization_key,
    primary_key,
    timestamp,
)


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})


class AttemptOutcome(StrEnum):
    """How an attempt ended. LOST: its lease ran out. RETURNED: its worker was told to stop.

    One that FAILED has ended its job or, where `impasto_core.jobs.errors` says so, only itself.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    LOST = "lost"
    RETURNED = "returned"


class CancelReason(StrEnum):
    """Why a job was canceled: its owner asked for it, or a time limit that its owner had set was over."""

    REQUESTED = "requested"
    DEADLINE = "deadline"
    QUEUE_LIMIT = "queue-limit"
    RUN_LIMIT = "run-limit"


class JobBase(SQLModel):
    """A request for pictures. `attempt` counts claims and is the fencing token of the current lease.

    `pipeline` is null where the graph is the caller's own; `workflow` is the slug of the one it is a run
    of, if any, and `input` what that was given. `models` are the slugs of those that the graph names,
    first the one it is priced by. `images_in` maps every image name the graph reads to the object that
    holds it. `error` is what the caller sees: {code, message, node_id, node_type, retryable}.
    `available_at`, from which on it may be claimed, is by the database's clock, and now where nothing is
    said. `pixel_steps` is its work: pixels x denoising steps over all its images. `traceparent` is the W3C
    trace context it was made in; `webhook_url` is told of its end. `quote`, what it can cost at most, and
    `cost`, its receipt once it has ended, are billing's. `images_made` still counts those that were deleted.

    Time limits, all by the database's clock: it is canceled at its `deadline`, at its `queue_deadline` where
    no worker has begun it, and once it has kept a device busy for `max_run_seconds`.
    """

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    api_key_id: UUID | None = Field(default=None, foreign_key="api_keys.id", ondelete="SET NULL")
    mode: str = Field(max_length=4)
    pool: str = Field(max_length=63)
    pipeline: str | None = Field(default=None, max_length=63)
    workflow: str | None = Field(default=None, max_length=63)
    workflow_version: int | None = None
    input: dict[str, Any] = json_column(default_factory=dict)
    models: list[str] = json_column(default_factory=list)
    graph: dict[str, Any] = ordered_json_column()
    pixel_steps: int = Field(sa_type=BigInteger)
    priority: int = Field(default=0, sa_type=SmallInteger)
    images_in: dict[str, str] = json_column(default_factory=dict)
    user_metadata: dict[str, str] = json_column(
        default_factory=dict, serialization_alias="metadata", sa_column_kwargs={"name": "metadata"}
    )  # SQLAlchemy keeps the attribute name `metadata` for itself
    traceparent: str | None = Field(default=None, max_length=55)
    webhook_url: str | None = Field(default=None, max_length=2048)
    deadline: datetime | None = timestamp(default=None)
    queue_deadline: datetime | None = timestamp(default=None)
    max_run_seconds: int | None = None

    status: str = Field(default=JobStatus.QUEUED, max_length=16)
    attempt: int = 0
    worker: str | None = Field(default=None, max_length=200)
    error: dict[str, Any] | None = json_column(default=None)
    quote: dict[str, Any] | None = json_column(default=None)
    cost: dict[str, Any] | None = json_column(default=None)
    images_made: int = 0

    created_at: datetime = created_now()
    available_at: datetime = timestamp(
        default=None, nullable=False, sa_column_kwargs={"server_default": func.now()}
    )
    started_at: datetime | None = timestamp(default=None)
    finished_at: datetime | None = timestamp(default=None)
    lease_expires_at: datetime | None = timestamp(default=None)
    cancel_requested_at: datetime | None = timestamp(default=None)
    cancel_reason: str | None = Field(default=None, max_length=16)


class Job(JobBase, table=True):
    """A job in a session. Who only stores one makes a `JobBase`, which costs a tenth of it."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'canceled')", name="status"),
        CheckConstraint("(status = 'running') = (lease_expires_at IS NOT NULL)", name="leased_while_running"),
        CheckConstraint(
            "(status IN ('succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL)",
            name="finished_once",
        ),
        CheckConstraint("priority BETWEEN -10 AND 10", name="priority"),
        CheckConstraint("max_run_seconds > 0", name="max_run_seconds"),
        CheckConstraint(
            "cancel_reason IN ('requested', 'deadline', 'queue-limit', 'run-limit')", name="cancel_reason"
        ),
        Index("ix_jobs_organization_id_id", "organization_id", "id"),
        Index("ix_jobs_organization_id_finished_at", "organization_id", "finished_at"),
        Index(
            "ix_jobs_claim",
            "pool",
            "organization_id",
            text("priority DESC"),
            "id",
            postgresql_where="status = 'queued'",
        ),
        Index("ix_jobs_running", "organization_id", "pool", postgresql_where="status = 'running'"),
        Index("ix_jobs_succeeded", "pool", "finished_at", postgresql_where="status = 'succeeded'"),
        Index("ix_jobs_lease", "lease_expires_at", postgresql_where="status = 'running'"),
        Index("ix_jobs_deadline", "deadline", postgresql_where="status = 'queued'"),
        Index(
            "ix_jobs_queue_deadline",
            "queue_deadline",
            postgresql_where="status = 'queued' AND attempt = 0 AND queue_deadline IS NOT NULL",
        ),
    )


class JobAttempt(SQLModel, table=True):
    """One claim of a job by a worker. `outcome` is null while it runs.

    `swept_at`: when the sweeper has removed the objects that it may have left, if it did not succeed.
    """

    __tablename__ = "job_attempts"
    __table_args__ = (
        CheckConstraint("outcome IN ('succeeded', 'failed', 'canceled', 'lost', 'returned')", name="outcome"),
        Index(
            "ix_job_attempts_unswept",
            "finished_at",
            postgresql_where="outcome <> 'succeeded' AND swept_at IS NULL",
        ),
    )

    job_id: UUID = Field(foreign_key="jobs.id", ondelete="CASCADE", primary_key=True)
    number: int = Field(primary_key=True)
    organization_id: UUID = organization_key(index=True)
    worker: str = Field(max_length=200)
    outcome: str | None = Field(default=None, max_length=16)
    error: dict[str, Any] | None = json_column(default=None)
    started_at: datetime = timestamp()
    finished_at: datetime | None = timestamp(default=None)
    swept_at: datetime | None = timestamp(default=None)


class QueueShare(SQLModel, table=True):
    """An organization's state in the fair queue of one pool. Written only by triggers on `jobs`.

    `start_tag` and `finish_tag` are those of the job it had claimed last, as start-time fair queueing knows
    them (see `impasto_core.jobs.fair_queue`). `backlogged` is true where a job of it is queued.
    """

    __tablename__ = "queue_shares"
    __table_args__ = (
        Index("ix_queue_shares_next", "pool", "finish_tag", "organization_id", postgresql_where="backlogged"),
        Index("ix_queue_shares_virtual_time", "pool", "start_tag"),
    )

    pool: str = Field(max_length=63, primary_key=True)
    organization_id: UUID = organization_key(primary_key=True, index=True)
    backlogged: bool
    start_tag: int = Field(sa_type=BigInteger)
    finish_tag: int = Field(sa_type=BigInteger)
