# ruff: noqa: ASYNC109 (a wait has a timeout of its own, on both clients, and an error that names the job)

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeAlias

from .. import _files as files
from .. import _request as ask
from .._core import Core
from .._follow import DEFAULT_TIMEOUT, follow
from .._pagination import Listing, paged
from .._progress import Audience, OnProgress
from .._twin import Colour, endpoint, method
from ..types import Image, ImageList, Job, Upload
from ..types.image import get_image
from ._base import Resource
from .jobs import create_job, job_body
from .uploads import send_file

InitImage: TypeAlias = files.File | Image[Any] | Upload
"""A picture to start from: a file in any form, an image or an upload, or the id of one."""


class Images(Resource[Colour], Generic[Colour]):
    @method
    async def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        model: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        seed: int | None = None,
        n: int | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int | None = None,
        max_cost: int | None = None,
        webhook_url: str | None = None,
        cancel_after: int | str | None = None,
        deadline: datetime | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_progress: OnProgress | None = None,
        progress: bool = False,
    ) -> ImageList[Colour]:
        """A prompt in, pictures out. What is left out has the API's default.

        Args:
            negative_prompt: what should not be in the picture.
            model: the id of a model. See `models.list()`.
            width, height: in pixels, multiples of 8.
            steps: how many denoising steps to take.
            guidance: how closely to follow the prompt, 1 to 30.
            scheduler: the sampler, by name. See `pipelines.get("text-to-image")`.
            seed: the same seed and input give the same picture. Further images have seed + 1, seed + 2, ...
            n: how many images.
            metadata: your own notes, kept with the job.
            priority: -10 to 10, 0 by default. Of your organization's jobs the higher start first.
            max_cost: credits; a job that is quoted at more is refused with `QuoteAboveMaxCostError`.
            webhook_url: told when the job has ended: read what it gets with `impasto.webhooks.unwrap`.
            cancel_after: cancel the job where it has not ended by then: seconds, or "90s", "5m", "1h30m".
            deadline: the same as a moment. At most, and by default, 24 hours from now.
            idempotency_key: with the same key you get the same images, not new ones, for 24 hours.
            timeout: seconds to wait for the images, None for as long as it takes.
            on_progress: called with a `Progress` at every change.
            progress: draw a bar on stderr.

        Raises:
            APIError: the API refused. `InvalidRequestError` names the fields.
            APIConnectionError: no answer.
            JobFailed, JobCanceled: the job ended without images.
            WaitTimeout: the job did not end in time. It goes on, and `.job_id` says which.
        """
        values = ask.given(
            {
                "prompt": prompt,
                "negative_prompt": negative_prompt,
                "model": model,
                "width": width,
                "height": height,
                "steps": steps,
                "guidance": guidance,
                "scheduler": scheduler,
                "seed": seed,
                "n": n,
            }
        )
        body = job_body(
            "text-to-image",
            values,
            metadata=metadata,
            priority=priority,
            max_cost=max_cost,
            webhook_url=webhook_url,
            deadline=deadline,
        )
        request = create_job(body, cancel_after=cancel_after, idempotency_key=idempotency_key)
        return await make_images(self._core, request, timeout, on_progress, progress)

    @method
    async def transform(
        self,
        init_image: InitImage,
        prompt: str,
        *,
        strength: float | None = None,
        negative_prompt: str | None = None,
        model: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        seed: int | None = None,
        n: int | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int | None = None,
        max_cost: int | None = None,
        webhook_url: str | None = None,
        cancel_after: int | str | None = None,
        deadline: datetime | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_progress: OnProgress | None = None,
        progress: bool = False,
    ) -> ImageList[Colour]:
        """A picture and a prompt in, pictures out. The rest is as in `generate`.

        Args:
            init_image: a path, bytes, an open file, a Pillow image (these are uploaded first), an `Image`, an
                `Upload`, or the id of one.
            strength: how far to go from it: 0.05 keeps nearly all of it, 1 nearly nothing.
        """
        values = ask.given(
            {
                "init_image": await _id_of(self._core, init_image),
                "prompt": prompt,
                "strength": strength,
                "negative_prompt": negative_prompt,
                "model": model,
                "width": width,
                "height": height,
                "steps": steps,
                "guidance": guidance,
                "scheduler": scheduler,
                "seed": seed,
                "n": n,
            }
        )
        body = job_body(
            "image-to-image",
            values,
            metadata=metadata,
            priority=priority,
            max_cost=max_cost,
            webhook_url=webhook_url,
            deadline=deadline,
        )
        request = create_job(body, cancel_after=cancel_after, idempotency_key=idempotency_key)
        return await make_images(self._core, request, timeout, on_progress, progress)

    @paged
    def list(
        self, *, job_id: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Listing[Image[Colour]]:
        """Your organization's images, newest first. `limit` is the size of a page, not of the list."""
        return Listing(
            ask.path("images"), Image[Colour], {"job_id": job_id, "limit": limit, "cursor": cursor}
        )

    @endpoint
    def get(self, image_id: str) -> ask.Request[Image[Colour]]:
        """The image, with fresh URLs."""
        return get_image(image_id)

    @endpoint
    def delete(self, image_id: str) -> ask.Request[None]:
        """Delete the image, file and all. This cannot be undone."""
        return ask.delete(ask.path("images", image_id), type(None))


async def make_images(
    core: Core,
    request: ask.Request[Job[Any]],
    timeout: float | None,
    on_progress: OnProgress | None,
    progress: bool,
) -> ImageList[Any]:
    """Ask for the job, wait for its end, and return its images."""
    job = await core.request(request)
    return ImageList(await follow(core, job.id, timeout, Audience(job.id, on_progress, bar=progress)))


async def _id_of(core: Core, source: InitImage) -> str:
    """The id of the picture, uploaded if it has none yet."""
    if isinstance(source, Image | Upload):
        return source.id
    if isinstance(source, str) and files.is_id(source):
        return source
    return (await send_file(core, source)).id
