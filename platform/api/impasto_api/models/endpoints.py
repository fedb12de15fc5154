"""/v1/models"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from sqlmodel import col, select

from impasto_api.auth.dependencies import ModelsReader
from impasto_api.models.schemas import ModelView
from impasto_api.pagination import Page, PageDep, make_page
from impasto_api.problems import NotFound
from impasto_api.services import ServicesDep
from impasto_core.fields import Text
from impasto_core.models.service import find_model
from impasto_core.models.tables import Model

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", operation_id="models.list", summary="List models")
async def list_models(services: ServicesDep, principal: ModelsReader, page: PageDep) -> Page[ModelView]:
    """Those that jobs can name, newest first."""
    async with services.database.tenant(principal.organization_id) as session:
        rows, next_cursor = await page.select(session, select(Model).where(col(Model.enabled)), Model.id)
    default = services.settings.default_model
    return make_page(rows, next_cursor, lambda model: ModelView.of(model, default_slug=default))


@router.get("/{model_id}", operation_id="models.get", summary="Get a model")
async def get_model(
    services: ServicesDep,
    principal: ModelsReader,
    model_id: Annotated[Text, Path(max_length=63, examples=["impasto-shapes"])],
) -> ModelView:
    """What it is, and which sizes it paints."""
    async with services.database.tenant(principal.organization_id) as session:
        model = await find_model(session, model_id)
    if model is None:
        raise NotFound("There is no such model.")
    return ModelView.of(model, default_slug=services.settings.default_model)
