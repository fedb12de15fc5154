"""From what a caller sends to what a worker runs: the one place where pipelines and graphs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.auth.keys import Principal
from impasto_api.jobs.schemas import ImageToImageRequest, TextToImageRequest
from impasto_api.jobs.sources import Source, find_sources
from impasto_api.plans.limits import Need, images_need, model_need, node_editor_need, size_need
from impasto_api.services import Services
from impasto_billing.prices import price_list_of
from impasto_core.graphs import InvalidGraph, catalogue
from impasto_core.graphs.bounds import Bound, Size
from impasto_core.graphs.connections import Connections
from impasto_core.graphs.estimate import estimate
from impasto_core.graphs.problems import GraphProblem
from impasto_core.graphs.references import (
    ModelResolver,
    images_named,
    names_of_models,
    networks_of,
    too_many_images,
)
from impasto_core.graphs.validation import check, check_data
from impasto_core.jobs.work import Work
from impasto_core.models.tables import Model
from impasto_core.pipelines import PIPELINES, InvalidInput, PipelineInput


@dataclass(frozen=True)
class Draft:
    """A job that could be made: checked, but neither allowed by a plan yet nor priced.

    models: those that the graph names, first the one whose prices hold, `priced_as`.
    images_in: the object behind each image name of the graph.
    """

    pipeline: str | None
    input: dict[str, Any]
    graph: dict[str, Any]
    models: Sequence[Model]
    priced_as: Model
    work: Work
    description: str
    needs: Sequence[Need]
    images_in: dict[str, str] = field(default_factory=dict)


Sources = Mapping[str, Source]


@dataclass(frozen=True)
class CheckedGraph:
    """A caller's graph as a worker can run it, its edges, and the models that it names."""

    graph: dict[str, Any]
    edges: Connections
    models: Sequence[Model]


async def draft_pipeline(
    services: Services,
    request: TextToImageRequest | ImageToImageRequest,
    sources: Sources,
) -> Draft:
    """Raises InvalidInput."""
    slug = request.input.model or services.settings.default_model
    model = await services.models.find(slug)
    if model is None or model.type != "main":
        raise InvalidInput("model", "not_found", f"There is no model {slug}: see GET /v1/models.")
    init = next(iter(sources.values()), None)
    resolved: PipelineInput = request.input.resolve(
        model, init_size=(init.width, init.height) if init else None
    )
    width, height = resolved.size()
    pictures = _images(resolved.n)
    return Draft(
        pipeline=request.pipeline,
        input=resolved.model_dump(mode="json"),
        graph=PIPELINES[request.pipeline].build(resolved, model),
        models=[model],
        priced_as=model,
        work=resolved.work(),
        description=f"{request.pipeline}, {pictures} of {width} x {height} pixels,"
        f" {resolved.denoising_steps()} steps",
        needs=[model_need(model), size_need(width, height), images_need(resolved.n)],
        images_in={reference: sources[name].object_key for name, reference in resolved.images().items()},
    )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


async def check_graph(session: AsyncSession, graph: Any) -> CheckedGraph:
    """Raises InvalidGraph."""
    check_data(graph)
    known = catalogue.load()
    names = names_of_models(graph, known)
    found = select(Model).where(
        col(Model.enabled),
        or_(
            col(Model.slug).in_(names),
            col(Model.name).in_(names),
            col(Model.id).in_(_uuids(names)),
        ),
    )
    resolver = ModelResolver((await session.exec(found)).all() if names else [], known)
    resolved = resolver.resolve(graph)
    problems = [*resolver.problems, *too_many_images(images_named(graph))]
    try:
        edges = check(resolved)
    except InvalidGraph as invalid:
        # What was said of a model that does not exist need not be said of its value.
        told = {problem.path for problem in problems}
        problems += [problem for problem in invalid.problems if not _is_below(problem.path, told)]
        raise InvalidGraph(problems) from None
    if problems:
        raise InvalidGraph(problems)
    return CheckedGraph(resolved, edges, [model for model, _ in resolver.used.values()])


async def find_graph_sources(
    services: Services, principal: Principal, graph: Mapping[str, Any], *, keep: bool = True
) -> dict[str, Source]:
    """The images that the graph names, by their names. Raises InvalidGraph."""
    sources: dict[str, Source] = {}
    problems: list[GraphProblem] = []
    for name, path in images_named(graph).items():
        try:
            found = await find_sources(services, principal.organization_id, {"image": name}, keep=keep)
            sources[name] = found["image"]
        except InvalidInput as missing:
            problems.append(GraphProblem(path, missing.code, missing.detail))
    if problems:
        raise InvalidGraph(problems)
    return sources


async def draft_graph(
    services: Services,
    checked: CheckedGraph,
    sources: Sources,
) -> Draft:
    """From what `check_graph` and `find_graph_sources` gave. Raises InvalidGraph."""
    graph, models = checked.graph, checked.models
    references: dict[str, Bound] = networks_of(models)
    references |= {name: Size(source.width, source.height) for name, source in sources.items()}
    estimated = estimate(graph, checked.edges, references)
    priced_as = await _priced_as(services, models, estimated.work)
    if strange := [model for model in models if model.pool != priced_as.pool]:
        detail = f"{strange[0].slug} and {priced_as.slug} are not run by the same workers."
        raise InvalidGraph([GraphProblem(("nodes",), "unlike_models", detail)])
    work, largest = estimated.work, estimated.largest
    return Draft(
        pipeline=None,
        input={},
        graph=graph,
        models=sorted(models, key=lambda model: model is not priced_as),
        priced_as=priced_as,
        work=work,
        description=f"graph of {len(graph['nodes'])} nodes, at most {_images(work.images)}",
        needs=[
            node_editor_need(),
            *(model_need(model, "graph") for model in models),
            size_need(largest.width, largest.height, "graph"),
            images_need(work.images, "graph"),
        ],
        images_in={name: source.object_key for name, source in sources.items()},
    )


async def _priced_as(services: Services, models: Sequence[Model], work: Work) -> Model:
    """The model that denoises; of several, the dearest. Without any, the default one."""
    painters = [model for model in models if model.type == "main"] or models
    if painters:
        quote = partial(
            price_list_of(services.clock()).quote,
            work=work,
            description="",
            limit_seconds=services.settings.job_time_limit_seconds,
        )
        return max(painters, key=lambda model: quote(model).amount)
    default = await services.models.find(services.settings.default_model)
    if default is None:
        detail = f"It names no model, and there is no {services.settings.default_model} to price it by."
        raise InvalidGraph([GraphProblem(("nodes",), "no_model", detail)])
    return default


def _is_below(path: tuple[str, ...], told: set[tuple[str, ...]]) -> bool:
    return any(path[:length] in told for length in range(1, len(path) + 1))


def _uuids(names: set[str]) -> list[UUID]:
    found = []
    for name in names:
        try:
            found.append(UUID(name))
        except ValueError:
            continue
    return found
