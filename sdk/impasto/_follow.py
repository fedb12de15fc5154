"""Waiting for a job: by its events as long as they flow, by asking for the job itself when they do not."""
# ruff: noqa: ASYNC109 (a wait has a timeout of its own, on both clients, and an error that names the job)

from __future__ import annotations

from typing import Any

from ._clock import Deadline
from ._core import Core
from ._events import Events
from ._exceptions import APIConnectionError, JobCanceled, JobFailed, ResponseError, WaitTimeout
from ._progress import Audience
from .types.event import Canceled, Failed, Succeeded
from .types.job import Job, get_job

DEFAULT_TIMEOUT = 600.0
"""Seconds to wait for a job unless told otherwise."""
FIRST_POLL, LONGEST_POLL = 0.5, 5.0


async def follow(core: Core, job_id: str, timeout: float | None, audience: Audience) -> Job[Any]:
    """The job, once it has succeeded.

    Raises:
        JobFailed, JobCanceled: it ended otherwise.
        WaitTimeout: it did not end within `timeout` seconds (None: no limit). It goes on.
        ResponseError, APIConnectionError: it could not be had. A note names the job, which may well go on.
    """
    deadline = Deadline(core.io.clock, timeout)
    try:
        with audience:
            job = await _hear(core, job_id, deadline, audience)
            job = job or await _ask(core, job_id, deadline, audience)
    except (ResponseError, APIConnectionError) as error:
        error.add_note(f"This happened while waiting for job {job_id}, which may well go on.")
        raise
    if job.status == "failed":
        raise JobFailed(job)
    if job.status == "canceled":
        raise JobCanceled(job)
    return job


async def _hear(core: Core, job_id: str, deadline: Deadline, audience: Audience) -> Job[Any] | None:
    """The job at its end, or None if the stream does not get there."""
    events = Events[Any](core, job_id, deadline=deadline)
    try:
        while True:
            try:
                event = await events.next()
            except (ResponseError, APIConnectionError, WaitTimeout):
                return None  # one look at the job itself will say more
            if event is None:
                return None
            await audience.hear(event)
            if isinstance(event, Succeeded | Failed | Canceled):
                return event.job
    finally:
        await events.close()


async def _ask(core: Core, job_id: str, deadline: Deadline, audience: Audience) -> Job[Any]:
    delay = FIRST_POLL
    while True:
        job = await core.request(get_job(job_id))
        await audience.see(job)
        if job.finished:
            return job
        if deadline.passed:
            raise WaitTimeout(job_id, deadline.seconds or 0)
        await core.io.sleep(deadline.within(delay))
        delay = min(LONGEST_POLL, delay * 1.5)
