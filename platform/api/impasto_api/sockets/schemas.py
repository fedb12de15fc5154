"""What clients say over Socket.IO, and what they are answered."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from impasto_api.problems import TYPE_PREFIX, Problem, ValidationFailed
from impasto_core.ids import JobId

T = TypeVar("T", bound=BaseModel)


class Credentials(BaseModel):
    """`auth` of the connection."""

    api_key: str = Field(max_length=200)


class Subscribe(BaseModel):
    """Follow a job, after an event where one is named."""

    model_config = ConfigDict(extra="forbid")

    job_id: JobId
    last_event_id: str | None = Field(default=None, pattern=r"^(final|\d{1,9}-\d{1,9})$")


class Unsubscribe(BaseModel):
    """Follow a job no more."""

    model_config = ConfigDict(extra="forbid")

    job_id: JobId


def read(schema: type[T], said: object) -> T:
    """Raises ValidationFailed."""
    try:
        return schema.model_validate(said)
    except ValidationError as error:
        wrong = error.errors()[0]
        field = ".".join(map(str, wrong["loc"])) or "body"
        raise ValidationFailed.of("body", field, wrong["type"], wrong["msg"]) from None


def document(problem: Problem) -> dict[str, Any]:
    """The problem as HTTP has it, less what is of a request: its path and id."""
    return {
        "type": problem.type or TYPE_PREFIX + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "errors": [error.model_dump(mode="json") for error in problem.errors],
        **problem.extensions,
    }
