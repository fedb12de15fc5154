"""Nobody gets at another organization's things: every operation of the contract is tried, with real ids.

A new operation fails here until it is said what it has to do with tenancy.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from impasto_api.app import create_app
from impasto_api.examples import EXAMPLES
from tests.support.painters import Painter, png
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant

DOCUMENT = create_app().openapi()

SHARED = {
    "models.list",
    "models.get",
    "pipelines.list",
    "pipelines.get",
    "nodes.list",
    "nodes.get",
    "plans.list",
}
"""What everyone may see."""

PUBLIC = {"health.live", "health.ready", "health.version"}
"""What needs no key."""

CREATING = {"jobs.create", "quotes.create", "uploads.create", "api_keys.create", "spend_caps.set"}
CREATING |= {"workflows.create", "webhooks.endpoints.create"}
"""What makes new things of one's own. Only jobs, their quotes and caps of keys refer to others: see the last
tests."""

FIGURES = {"usage.list", "usage.storage", "credits.balance", "credits.grants", "credits.entries"}
"""What an organization used and has left: see the test of its figures."""

PAYMENTS = {
    f"billing.{name}"
    for name in (
        "packs",
        "create_checkout_session",
        "create_portal_session",
        "get_subscription",
        "change_subscription",
        "cancel_subscription",
        "resume_subscription",
        "invoices",
        "get_auto_top_up",
        "set_auto_top_up",
    )
}
"""What an organization buys. They take no ids, and are tried in tests/billing/payments/test_endpoints.py."""

SECRETS = {"webhooks.secret.get", "webhooks.secret.rotate"}
"""What an organization signs with. They take no ids: see tests/api/test_webhook_endpoints.py."""

BODIES: dict[str, dict[str, Any]] = {
    "api_keys.roll": {"grace_seconds": 0},
    "workflows.add_version": {"workflow": EXAMPLES["WorkflowCreate"]["workflow"]},
    "workflows.create_run": {"input": {}},
    "webhooks.endpoints.update": {"description": "mine now"},
    "webhooks.endpoints.rotate_secret": {"overlap_seconds": 0},
    "webhooks.endpoints.redeliver": {"since": "2026-01-01T00:00:00Z"},
}
"""What the operations on one thing send."""

QUERIES = {"workflows.diff": {"before": 1, "after": 1}}


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    parameters: list[dict[str, Any]] = field(repr=False)

    def of(self, owner: Owner) -> tuple[str, str]:
        return self.method, self.path.format(version=1, **owner.ids)


@dataclass(frozen=True)
class Owner:
    """An organization that has one of everything. `ids` has their ids, by the contract's parameter names."""

    client: httpx.AsyncClient
    ids: dict[str, str]


def operations() -> Iterator[Operation]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield Operation(operation["operationId"], method.upper(), path, operation.get("parameters", []))


OPERATIONS = [
    operation
    for operation in operations()
    if operation.id not in SHARED | PUBLIC | CREATING | FIGURES | PAYMENTS | SECRETS
]
ON_ONE_THING = [operation for operation in OPERATIONS if "{" in operation.path]
LISTS = [operation for operation in OPERATIONS if operation.id.endswith(".list")]


async def furnish(client: httpx.AsyncClient, anyone: httpx.AsyncClient, painter: Painter) -> Owner:
    endpoint = (await client.post("/v1/webhook-endpoints", json={"url": "https://example.com/"})).json()
    body = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}
    job = (await client.post("/v1/jobs", json=body)).json()
    await painter.paint_next()
    [image] = (await client.get(f"/v1/jobs/{job['id']}")).json()["images"]
    picture = png()
    upload = await client.post("/v1/uploads", json={"content_type": "image/png", "size": len(picture)})
    stored = await anyone.put(upload.json()["url"], content=picture, headers=upload.json()["headers"])
    assert stored.status_code == 200
    key = (await client.post("/v1/api-keys", json={"name": "furniture"})).json()
    for amount in (0, 1000):  # the former is reached at once, and so alerts
        cap = (await client.put("/v1/billing/spend-caps", json={"amount": amount})).json()
    [alert, *_] = (await client.get("/v1/billing/spend-alerts")).json()["data"]
    slug = f"workflow-{job['id'][-12:]}"
    saved = await client.post("/v1/workflows", json=EXAMPLES["WorkflowCreate"] | {"slug": slug})
    assert saved.status_code == 201, saved.text
    [delivery, *_] = (await client.get("/v1/webhook-deliveries?event_type=job.succeeded")).json()["data"]
    ids = {
        "slug": slug,
        "endpoint_id": endpoint["id"],
        "delivery_id": delivery["id"],
        "job_id": job["id"],
        "image_id": image["id"],
        "upload_id": upload.json()["id"],
        "key_id": key["id"],
        "spend_cap_id": cap["id"],
        "spend_alert_id": alert["id"],
    }
    return Owner(client, ids)


@pytest.fixture
async def mine(client: httpx.AsyncClient, anonymous: httpx.AsyncClient, painter: Painter) -> Owner:
    return await furnish(client, anonymous, painter)


@pytest.fixture
async def theirs(
    base_url: str, stranger: Tenant, anonymous: httpx.AsyncClient, painter: Painter
) -> AsyncIterator[Owner]:
    async with httpx.AsyncClient(base_url=base_url, headers=stranger.headers, timeout=20) as client:
        yield await furnish(client, anonymous, painter)


async def call(client: httpx.AsyncClient, operation: Operation, owner: Owner) -> httpx.Response:
    """The operation on the owner's thing. Streams end, since all jobs have."""
    method, path = operation.of(owner)
    return await client.request(method, path, json=BODIES.get(operation.id), params=QUERIES.get(operation.id))


def test_it_is_known_of_every_operation_what_it_has_to_do_with_tenancy() -> None:
    unknown = [
        operation.id for operation in OPERATIONS if operation not in ON_ONE_THING and operation not in LISTS
    ]
    assert unknown == [], "say in this file how these keep organizations apart"
    known = {operation.id for operation in operations()}
    said = SHARED | PUBLIC | CREATING | FIGURES | PAYMENTS | SECRETS | BODIES.keys()
    assert said <= known, "and forget those that are no more"


async def test_no_operation_gets_at_another_organizations_things(
    mine: Owner, theirs: Owner, subtests: pytest.Subtests
) -> None:
    for operation in ON_ONE_THING:
        with subtests.test(operation.id):
            response = await call(mine.client, operation, theirs)
            assert_problem(response, 404, "not-found")
            told = response.text.replace(response.request.url.path, "")
            assert not [known for known in theirs.ids.values() if known in told]

    # The ids were real: to their owner each of these operations says something else than 404. Those that
    # delete come last.
    for operation in sorted(ON_ONE_THING, key=lambda operation: operation.method == "DELETE"):
        with subtests.test(operation.id, by="owner"):
            response = await call(theirs.client, operation, theirs)
            assert response.status_code in {200, 201, 202, 204, 409}, response.text


async def test_an_operation_on_anothers_thing_answers_as_on_one_that_does_not_exist(
    mine: Owner, theirs: Owner, subtests: pytest.Subtests
) -> None:
    """Nobody can find out by asking which ids exist."""
    nobody = Owner(mine.client, {name: f"{id_[:4]}{'0' * 26}" for name, id_ in theirs.ids.items()})
    for operation in ON_ONE_THING:
        with subtests.test(operation.id):
            answers = [await call(mine.client, operation, owner) for owner in (theirs, nobody)]
            problems = [answer.json() for answer in answers]
            for problem in problems:
                del problem["request_id"], problem["instance"]
            assert problems[0] == problems[1]
            assert answers[0].headers.keys() == answers[1].headers.keys()


async def test_no_list_shows_another_organizations_things(
    mine: Owner, theirs: Owner, subtests: pytest.Subtests
) -> None:
    for operation in LISTS:
        with subtests.test(operation.id):
            page = await mine.client.get(operation.path, params={"limit": 100})
            assert page.status_code == 200
            listed = {item.get("id") or item["slug"] for item in page.json()["data"]}
            assert listed & set(mine.ids.values()), "one's own are there"
            assert not [known for known in theirs.ids.values() if known in page.text]
        for parameter in operation.parameters:
            if (name := parameter["name"]) in theirs.ids:
                with subtests.test(operation.id, by=name):
                    page = await mine.client.get(operation.path, params={name: theirs.ids[name]})
                    assert page.json()["data"] == []
                    page = await theirs.client.get(operation.path, params={name: theirs.ids[name]})
                    assert page.json()["data"] != []


async def test_no_figure_is_moved_by_what_another_organization_does(
    mine: Owner, client: httpx.AsyncClient, stranger: Tenant, painter: Painter
) -> None:
    paths = [operation.path for operation in operations() if operation.id in FIGURES]
    query = {"group_by": "day,model,api_key"}

    async def figures(one: httpx.AsyncClient) -> list[Any]:
        return [(await one.get(path, params=query)).json() for path in paths]

    before = await figures(mine.client)
    async with httpx.AsyncClient(base_url=client.base_url, headers=stranger.headers) as other:
        await furnish(other, other, painter)
        others = await figures(other)
    assert await figures(mine.client) == before
    named = [
        set(re.findall(r"(?:job|key|grant|entry)_\w{26}", json.dumps(told))) for told in (before, others)
    ]
    assert all(named)
    assert not set.intersection(*named)


async def test_no_new_thing_is_made_of_another_organizations_things(mine: Owner, theirs: Owner) -> None:
    """Wherever the contract takes an id in a body."""
    taking_ids = {
        name
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for field_ in schema.get("properties", {}).values()
        if "(upl|img)_" in json.dumps(field_) or "upl_" in field_.get("pattern", "")
    }
    assert taking_ids == {"ImageToImageInput", "Upload"}, "say how a new reference keeps organizations apart"
    for kind in ("upload_id", "image_id"):
        body = {
            "pipeline": "image-to-image",
            "input": {"prompt": "mine now", "init_image": theirs.ids[kind]},
        }
        response = await mine.client.post("/v1/jobs", json=body)
        problem = assert_problem(response, 422, "validation-failed", field="input.init_image")
        assert problem["errors"][0]["code"] == "not_found"
        quote = await mine.client.post("/v1/quotes", json=body)
        assert quote.json()["errors"] == problem["errors"]
        assert (await theirs.client.post("/v1/jobs", json=body)).status_code == 202


async def test_the_key_of_another_organization_cannot_be_capped(mine: Owner, theirs: Owner) -> None:
    body = {"amount": 1, "api_key_id": theirs.ids["key_id"]}
    response = await mine.client.put("/v1/billing/spend-caps", json=body)
    problem = assert_problem(response, 422, "validation-failed", field="api_key_id")
    assert problem["errors"][0]["code"] == "not_found"
    assert theirs.ids["spend_cap_id"] in (await theirs.client.get("/v1/billing/spend-caps")).text
