"""Where images lie in the object store."""

from __future__ import annotations

from uuid import UUID


def attempt_folder(organization_id: UUID, job_id: UUID, attempt: int) -> str:
    """A prefix for the objects of one attempt alone.

    So one that was overtaken cannot write over its successor's objects, and what it left can be found.
    """
    return f"organizations/{organization_id}/jobs/{job_id}/{attempt}/"
