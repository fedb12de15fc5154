"""Images: found, downloaded by anyone who has the URL, and deleted for good."""

from __future__ import annotations

import hashlib
import io
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from PIL import Image as Picture

from impasto_api.app import create_app
from impasto_core.clock import utc_now
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock
from tests.support.job_desk import until
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.servers import serve
from tests.support.tenants import Tenant

Image = dict[str, Any]


async def paint(client: httpx.AsyncClient, painter: Painter, *, n: int = 1) -> list[Image]:
    body = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart", "seed": 7, "n": n}}
    job = (await client.post("/v1/jobs", json=body)).json()
    await painter.paint_next()
    images: list[Image] = (await client.get(f"/v1/jobs/{job['id']}")).json()["images"]
    assert len(images) == n
    return images


async def ids(client: httpx.AsyncClient, **query: str) -> list[str]:
    return [image["id"] for image in (await client.get("/v1/images", params=query)).json()["data"]]


async def test_an_image_is_what_the_worker_made(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, painter: Painter
) -> None:
    [image] = await paint(client, painter)
    found = (await client.get(f"/v1/images/{image['id']}")).json()
    assert {name: found[name] for name in image if "url" not in name} == {
        name: image[name] for name in image if "url" not in name
    }
    assert (found["index"], found["node"], found["seed"]) == (0, "image_0", 7)
    assert found["content_type"] == "image/png"

    downloaded = await anonymous.get(found["url"])
    assert downloaded.status_code == 200
    assert downloaded.headers["content-type"] == "image/png"
    assert downloaded.headers["content-disposition"] == f'inline; filename="{found["id"]}.png"'
    assert len(downloaded.content) == found["size"]
    assert hashlib.sha256(downloaded.content).hexdigest() == found["sha256"]
    assert Picture.open(io.BytesIO(downloaded.content)).size == (found["width"], found["height"])

    thumbnail = await anonymous.get(found["thumbnail_url"])
    assert thumbnail.headers["content-type"] == "image/webp"


async def test_urls_expire_when_the_api_says_they_do(
    settings: Settings, tenant: Tenant, painter: Painter, client: httpx.AsyncClient
) -> None:
    [image] = await paint(client, painter)
    brief = Settings(**settings.model_dump() | {"download_url_seconds": 2})
    async with serve(create_app(brief)) as url, httpx.AsyncClient(base_url=url) as brief_client:
        asked = utc_now()
        found = (await brief_client.get(f"/v1/images/{image['id']}", headers=tenant.headers)).json()
        expires_at = datetime.fromisoformat(found["url_expires_at"])
        assert asked < expires_at <= utc_now() + timedelta(seconds=2)

        async def is_refused(which: str) -> bool:
            return (await brief_client.get(found[which])).status_code == 403

        for which in ("url", "thumbnail_url"):
            await until(lambda which=which: is_refused(which), f"{which} goes on working", within=10)  # type: ignore[misc]
        assert utc_now() >= expires_at, "it worked for as long as was promised"


async def test_each_look_signs_urls_anew(
    client: httpx.AsyncClient, clock: MovableClock, painter: Painter
) -> None:
    [image] = await paint(client, painter)
    clock.advance(hours=3)
    later = (await client.get(f"/v1/images/{image['id']}")).json()
    assert datetime.fromisoformat(later["url_expires_at"]) > datetime.fromisoformat(image["url_expires_at"])


async def test_images_are_listed_newest_first_page_by_page_and_by_job(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    first = await paint(client, painter, n=3)
    second = await paint(client, painter)
    newest_first = [image["id"] for image in reversed([*first, *second])]
    assert await ids(client) == newest_first

    page = (await client.get("/v1/images?limit=3")).json()
    assert [image["id"] for image in page["data"]] == newest_first[:3]
    assert page["has_more"] is True
    rest = (await client.get("/v1/images", params={"limit": 3, "cursor": page["next_cursor"]})).json()
    assert [image["id"] for image in rest["data"]] == newest_first[3:]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)

    assert await ids(client, job_id=second[0]["job_id"]) == [second[0]["id"]]


async def test_a_deleted_image_is_gone_everywhere(client: httpx.AsyncClient, painter: Painter) -> None:
    kept, deleted = await paint(client, painter, n=2)
    response = await client.delete(f"/v1/images/{deleted['id']}")
    assert (response.status_code, response.content) == (204, b"")

    assert_problem(await client.get(f"/v1/images/{deleted['id']}"), 404, "not-found")
    assert_problem(await client.delete(f"/v1/images/{deleted['id']}"), 404, "not-found")
    assert await ids(client) == [kept["id"]]
    job = (await client.get(f"/v1/jobs/{kept['job_id']}")).json()
    assert [image["id"] for image in job["images"]] == [kept["id"]]
    assert [image["index"] for image in job["images"]] == [0]
    [listed] = (await client.get("/v1/jobs")).json()["data"]
    assert [image["id"] for image in listed["images"]] == [kept["id"]]


async def test_a_deleted_image_is_nothing_to_start_from(client: httpx.AsyncClient, painter: Painter) -> None:
    [image] = await paint(client, painter)
    body = {"pipeline": "image-to-image", "input": {"prompt": "blue", "init_image": image["id"]}}
    assert (await client.post("/v1/jobs", json=body)).status_code == 202
    await client.delete(f"/v1/images/{image['id']}")
    response = await client.post("/v1/jobs", json=body)
    assert_problem(response, 422, "validation-failed", field="input.init_image")


async def test_an_image_can_be_the_start_of_the_next(client: httpx.AsyncClient, painter: Painter) -> None:
    [image] = await paint(client, painter)
    body = {"pipeline": "image-to-image", "input": {"prompt": "blue", "init_image": image["id"]}}
    job = (await client.post("/v1/jobs", json=body)).json()
    assert (job["input"]["width"], job["input"]["height"]) == (image["width"], image["height"])
    claimed = await painter.claim()
    [(name, key)] = claimed.images_in.items()
    assert name == image["id"]
    assert claimed.graph["nodes"]["resize"]["image"] == {"image_name": name}
    assert len(await painter.read(key)) == image["size"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_strangers_image_is_not_found_and_stays(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    stranger: Tenant,
    painter: Painter,
    method: str,
) -> None:
    [image] = await paint(client, painter)
    response = await anonymous.request(method, f"/v1/images/{image['id']}", headers=stranger.headers)
    assert_problem(response, 404, "not-found")
    assert await ids(client) == [image["id"]]
