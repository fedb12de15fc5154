"""What a worker does before its first job, so that the first job does not pay for it."""

from __future__ import annotations

import asyncio
import logging
import time

from sqlmodel import col, select

from impasto_core.database import DATABASE_ERRORS
from impasto_core.graphs.validation import check
from impasto_core.models.tables import Model
from impasto_core.pipelines import TEXT_TO_IMAGE, TextToImageInput
from impasto_core.storage import StorageUnavailable
from impasto_workers.model_files import ModelUnavailable
from impasto_workers.runtime.memory import freeze_what_lives
from impasto_workers.services import Services

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class WarmUpFailed(Exception):
    """This worker would fail every job: it must not take any."""


async def warm_up(services: Services) -> None:
    """Fetch the pool's models, and paint one step with the default one. Raises WarmUpFailed.

    A model that cannot be had is no reason to stop: the others can be used, and its jobs try again.
    """
    usable = [model for model in await _models_of_pool(services) if await _can_be_used(services, model)]
    if not usable:
        logger.warning("pool %s has no model yet", services.settings.worker_pool)
        return
    default = services.settings.default_model
    model = next((model for model in usable if model.slug == default), usable[0])

    started = time.monotonic()
    request = TextToImageInput(prompt="warm-up", steps=1, seed=0).resolve(model)
    graph = TEXT_TO_IMAGE.build(request, model)
    result = await services.gpu.run(services.runtime.run, graph)
    if result.error is not None:
        raise WarmUpFailed(f"{model.slug} does not paint:\n{result.error.traceback}")
    check(graph)  # reads the catalogue of nodes
    freeze_what_lives()
    logger.info("warm after %.1f s", time.monotonic() - started)


async def _models_of_pool(services: Services) -> list[Model]:
    """Waits for PostgreSQL where it is away: to end would be to load the runtime anew when it is back."""
    query = select(Model).where(Model.pool == services.settings.worker_pool, col(Model.enabled))
    while True:
        try:
            async with services.database.session() as session:
                return list((await session.exec(query.order_by(col(Model.slug)))).all())
        except DATABASE_ERRORS as error:
            logger.warning("PostgreSQL is away, trying again in %g s: %r", RETRY_SECONDS, error)
            await asyncio.sleep(RETRY_SECONDS)


async def _can_be_used(services: Services, model: Model) -> bool:
    try:
        await services.models.ensure(model)
    except (ModelUnavailable, StorageUnavailable) as error:
        logger.error("model %s cannot be used: %s", model.slug, error)
        return False
    return True
