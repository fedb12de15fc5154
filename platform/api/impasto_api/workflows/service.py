"""Saving workflows, and turning runs into graphs."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.auth.keys import Principal
from impasto_api.jobs.schemas import JobTerms, WorkflowReference, WorkflowRun
from impasto_api.problems import FieldError, NotFound, ValidationFailed, WorkflowArchived, WorkflowExists
from impasto_api.services import Services
from impasto_api.workflows import repository
from impasto_api.workflows.schemas import WorkflowCreate, WorkflowRunCreate
from impasto_core.graphs import GraphProblem, InvalidGraph, catalogue
from impasto_core.graphs.references import ModelResolver, names_of_models
from impasto_core.graphs.validation import check_data, find_problems
from impasto_core.models.tables import Model
from impasto_core.workflows.document import Reading, check_document, read
from impasto_core.workflows.inputs import WorkflowInput, filled, input_problems, inputs_of, with_defaults
from impasto_core.workflows.tables import Workflow, WorkflowVersion

MAX_VERSIONS = 1000


async def create(services: Services, principal: Principal, request: WorkflowCreate) -> Workflow:
    """Raises ValidationFailed, WorkflowExists."""
    async with services.database.tenant(principal.organization_id) as session:
        version = await _version(session, request.workflow)
        workflow = Workflow(
            organization_id=principal.organization_id,
            slug=request.slug,
            name=request.name or _text(request.workflow, "name", 200) or request.slug,
            description=request.description or _text(request.workflow, "description", 2000),
            latest=1,
            created_at=services.clock(),
        )
        session.add(workflow)
        try:
            await session.flush()
        except IntegrityError:
            raise WorkflowExists(
                f"Save a new version of {request.slug} instead, or choose another."
            ) from None
        session.add(_numbered(services, workflow, version, 1))
    return workflow


async def add_version(services: Services, principal: Principal, slug: str, document: Any) -> WorkflowVersion:
    """Raises NotFound, ValidationFailed, WorkflowArchived."""
    async with services.database.tenant(principal.organization_id) as session:
        workflow = await find(session, slug, lock=True)
        if workflow.archived_at is not None:
            raise WorkflowArchived("It takes no new versions.")
        if workflow.latest >= MAX_VERSIONS:
            detail = f"A workflow may have {MAX_VERSIONS} versions."
            raise ValidationFailed.of("body", "workflow", "too_many_versions", detail)
        version = _numbered(services, workflow, await _version(session, document), workflow.latest + 1)
        session.add(version)
        await session.flush()
        await repository.save(session, workflow, latest=version.number)
    return version


async def archive(services: Services, principal: Principal, slug: str) -> Workflow:
    """Again is no error. Raises NotFound."""
    async with services.database.tenant(principal.organization_id) as session:
        workflow = await find(session, slug, lock=True)
        if workflow.archived_at is None:
            await repository.save(session, workflow, archived_at=services.clock())
    return workflow


async def find(session: AsyncSession, slug: str, *, lock: bool = False) -> Workflow:
    """Raises NotFound."""
    workflow = await repository.get(session, slug, lock=lock)
    if workflow is None:
        raise NotFound("There is no such workflow.")
    return workflow


async def find_version(session: AsyncSession, workflow: Workflow, number: int) -> WorkflowVersion:
    """Raises NotFound."""
    version = await repository.get_version(session, workflow, number)
    if version is None:
        raise NotFound(f"The workflow {workflow.slug} has no version {number}.")
    return version


async def prepare_run(
    services: Services, principal: Principal, slug: str, request: WorkflowRunCreate
) -> tuple[WorkflowRun, list[WorkflowInput]]:
    """The run as a graph, and which of its fields are inputs.

    Raises NotFound, ValidationFailed, WorkflowArchived.
    """
    async with services.database.tenant(principal.organization_id) as session:
        workflow = await find(session, slug)
        if workflow.archived_at is not None:
            raise WorkflowArchived("It cannot be run any more.")
        number = request.version or workflow.latest
        version = await repository.get_version(session, workflow, number)
    if version is None:
        detail = f"The workflow has versions 1 to {workflow.latest}."
        raise ValidationFailed.of("body", "version", "not_found", detail)
    if problems := input_problems(version.input_schema, request.input):
        raise ValidationFailed.of_graph([GraphProblem(*problem) for problem in problems[:20]], "input")
    inputs = [WorkflowInput.model_validate(entry) for entry in version.inputs]
    values = with_defaults(version.input_schema, request.input)
    run = WorkflowRun(
        graph=filled(version.graph, inputs, values),
        workflow=WorkflowReference(slug=slug, version=number),
        input=values,
        **{name: getattr(request, name) for name in JobTerms.model_fields},
    )
    return run, inputs


def refusal(invalid: InvalidGraph, inputs: list[WorkflowInput]) -> ValidationFailed:
    """What is wrong with a run's graph, in terms of its input."""
    names = {(entry.node, entry.field): entry.name for entry in inputs}
    errors: list[FieldError] = []
    for problem in invalid.problems:
        place = problem.path[1:3] if problem.path[:1] == ("nodes",) else ()
        name = names.get((place[0], place[1])) if len(place) == 2 else None
        where = ".".join(problem.path[1:])
        told = GraphProblem(
            (name,) if name else (), problem.code, problem.detail if name else f"{where}: {problem.detail}"
        )
        errors += ValidationFailed.of_graph([told], "input").errors
    return ValidationFailed(errors)


async def _version(session: AsyncSession, document: Any) -> dict[str, Any]:
    """The fields of a version. Raises ValidationFailed."""
    try:
        check_document(document)
        known = catalogue.load()
        reading = read(document, known)
        await _check(session, reading)
        inputs, schema = inputs_of(reading, known)
    except InvalidGraph as invalid:
        raise ValidationFailed.of_graph(invalid.problems, "workflow") from None
    return {
        "document": document,
        "graph": reading.graph,
        "inputs": [entry.model_dump() for entry in inputs],
        "input_schema": schema,
    }


async def _check(session: AsyncSession, reading: Reading) -> None:
    """Whether runs can make a sound graph of it. What runs may set may be missing, and models be unknown.

    Leaves out of the graph what a run must set. Raises InvalidGraph, with paths into the document.
    """
    check_data(reading.graph)
    known = catalogue.load()
    names = names_of_models(reading.graph, known)
    by_name = select(Model).where(
        col(Model.enabled), or_(col(Model.slug).in_(names), col(Model.name).in_(names))
    )
    resolver = ModelResolver((await session.exec(by_name)).all() if names else [], known)
    resolved = resolver.resolve(reading.graph)
    exposed = {(field.node, field.field) for field in reading.exposed}
    unknown = {problem.path[1:3] for problem in resolver.problems}
    for node, field in unknown & exposed:
        del reading.graph["nodes"][node][field]
        del resolved["nodes"][node][field]
    problems = [problem for problem in resolver.problems if problem.path[1:3] not in exposed]
    for problem in find_problems(resolved, known):
        place = problem.path[1:3]
        if (problem.code == "missing" and place in exposed) or place in unknown:
            continue
        problems.append(problem)
    if problems:
        raise InvalidGraph([_in_document(reading, problem) for problem in problems[:20]])


def _in_document(reading: Reading, problem: GraphProblem) -> GraphProblem:
    """The problem where the editor's file has its value."""
    if problem.path[:1] != ("nodes",) or len(problem.path) < 2 or problem.path[1] not in reading.places:
        return problem
    _, node, *rest = problem.path
    place = (*reading.places[node], "data")
    if rest and rest[0] not in ("type", "id"):
        rest = ["inputs", rest[0], "value", *rest[1:]]
    return GraphProblem((*place, *rest), problem.code, problem.detail)


def _numbered(
    services: Services, workflow: Workflow, version: dict[str, Any], number: int
) -> WorkflowVersion:
    return WorkflowVersion(
        workflow_id=workflow.id,
        number=number,
        organization_id=workflow.organization_id,
        created_at=services.clock(),
        **version,
    )


def _text(document: Any, name: str, length: int) -> str:
    value = document.get(name) if isinstance(document, dict) else None
    return value[:length] if isinstance(value, str) else ""
