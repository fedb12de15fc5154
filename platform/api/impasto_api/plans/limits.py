"""Whether a plan allows what a request asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from impasto_api.problems import NotInPlan
from impasto_billing.plans import Plan
from impasto_billing.plans.service import all_plans
from impasto_core.database import Database
from impasto_core.models.tables import Model


@dataclass(frozen=True)
class Need:
    """Something that not every plan allows. `field` is where the request asks for it."""

    field: str
    what: str
    allowed_by: Callable[[Plan], bool]


def model_need(model: Model, field: str = "input.model") -> Need:
    return Need(
        field,
        f"The model {model.slug} ({model.base})",
        lambda plan: plan.model_bases is None or model.base in plan.model_bases,
    )


def size_need(width: int, height: int, field: str = "input.width") -> Need:
    return Need(field, f"{width} x {height} pixels", lambda plan: width * height <= plan.max_pixels)


def images_need(images: int, field: str = "input.n") -> Need:
    return Need(field, f"{images} images in one job", lambda plan: images <= plan.max_images)


def node_editor_need(field: str = "graph") -> Need:
    return Need(field, "A graph of your own", lambda plan: plan.node_editor)


async def require(database: Database, plan: Plan, needs: Sequence[Need]) -> None:
    """Raises NotInPlan, which names the smallest plan that allows all of them."""
    missing = next((need for need in needs if not need.allowed_by(plan)), None)
    if missing is None:
        return
    async with database.session() as session:
        plans = await all_plans(session)
    larger = next((one for one in plans if all(need.allowed_by(one) for need in needs)), None)
    advice = f"It is in {larger.slug}." if larger else "It is in no plan."
    raise NotInPlan(
        f"{missing.what}: not in the plan {plan.slug}. {advice}",
        field=missing.field,
        plan=plan.slug,
        allowed_by=larger.slug if larger else None,
    )
