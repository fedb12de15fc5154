"""The object store, on a real S3 server that checks signatures."""

from __future__ import annotations

import secrets
from dataclasses import fields
from pathlib import Path

import httpx
import pytest

from impasto_core.settings import Settings
from impasto_core.storage import ObjectNotFound, ObjectStore, StorageUnavailable
from impasto_ctl.embedded import EmbeddedServers
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import until
from tests.support.servers import closed_port


@pytest.fixture
def urls(servers: EmbeddedServers) -> DatabaseUrls:
    """No database of its own: none of these tests asks one."""
    return DatabaseUrls(*[servers.database_url] * len(fields(DatabaseUrls)))


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings)


@pytest.fixture
def key() -> str:
    """A key that no other test uses: the bucket is shared."""
    return f"tests/{secrets.token_hex(8)}/picture.png"


async def test_an_object_comes_back_as_it_was_put(store: ObjectStore, key: str, tmp_path: Path) -> None:
    data = secrets.token_bytes(100_000)
    await store.put(key, data, "image/png")
    assert await store.get(key) == data
    info = await store.head(key)
    assert (info.size, info.content_type) == (len(data), "image/png")
    await store.download(key, tmp_path / "copy.png")
    assert (tmp_path / "copy.png").read_bytes() == data


async def test_an_object_that_is_not_there_is_reported_as_such(
    store: ObjectStore, key: str, tmp_path: Path
) -> None:
    with pytest.raises(ObjectNotFound):
        await store.get(key)
    with pytest.raises(ObjectNotFound):
        await store.head(key)
    with pytest.raises(ObjectNotFound):
        await store.download(key, tmp_path / "copy.png")


async def test_deleting_can_be_repeated(store: ObjectStore, key: str) -> None:
    await store.put(key, b"1", "image/png")
    await store.delete([key, f"{key}.never-there"])
    await store.delete([key])
    with pytest.raises(ObjectNotFound):
        await store.head(key)


async def test_everything_below_a_prefix_is_listed(store: ObjectStore, key: str) -> None:
    folder = key.removesuffix("picture.png")
    for number in range(3):
        await store.put(f"{folder}{number}", b"x" * number, "text/plain")
    assert await store.sizes_below(folder) == {f"{folder}{number}": number for number in range(3)}
    assert await store.sizes_below(f"{folder}nothing") == {}


async def test_anyone_can_download_with_the_url_until_it_expires(store: ObjectStore, key: str) -> None:
    await store.put(key, b"picture", "image/png")
    async with httpx.AsyncClient() as anyone:
        lasting = await anyone.get(store.download_url(key, 60, filename="img_1.png"))
        assert (lasting.status_code, lasting.content) == (200, b"picture")
        assert lasting.headers["content-disposition"] == 'inline; filename="img_1.png"'

        brief = store.download_url(key, 1)

        async def is_refused() -> bool:
            return (await anyone.get(brief)).status_code == 403

        await until(is_refused, "the URL goes on working", within=10)


async def test_a_url_is_good_for_its_object_and_for_nothing_else(store: ObjectStore, key: str) -> None:
    await store.put(key, b"picture", "image/png")
    await store.put(f"{key}.other", b"secret", "image/png")
    url = store.download_url(key, 60)
    async with httpx.AsyncClient() as anyone:
        assert (await anyone.get(url.replace(key, f"{key}.other"))).status_code == 403
        assert (await anyone.get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"))).status_code == 403
        assert (await anyone.put(url, content=b"swapped")).status_code == 403
        assert (await anyone.delete(url)).status_code == 403
        assert (await anyone.get(url.partition("?")[0])).status_code == 403
    assert await store.get(key) == b"picture"


async def test_an_upload_url_takes_what_was_announced(store: ObjectStore, key: str) -> None:
    url = store.upload_url(key, 60, content_type="image/png", size=7)
    async with httpx.AsyncClient() as anyone:
        stored = await anyone.put(url, content=b"picture", headers={"Content-Type": "image/png"})
    assert stored.status_code == 200
    info = await store.head(key)
    assert (info.size, info.content_type) == (7, "image/png")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"picture", "text/html"), (b"a longer picture", "image/png"), (b"short", "image/png")],
    ids=["another type", "more bytes", "fewer bytes"],
)
async def test_an_upload_url_takes_nothing_but_what_was_announced(
    store: ObjectStore, key: str, content: bytes, content_type: str
) -> None:
    url = store.upload_url(key, 60, content_type="image/png", size=7)
    async with httpx.AsyncClient() as anyone:
        answer = await anyone.put(url, content=content, headers={"Content-Type": content_type})
    assert answer.status_code == 403
    with pytest.raises(ObjectNotFound):
        await store.head(key)


async def test_urls_are_signed_for_the_address_that_clients_reach(settings: Settings, key: str) -> None:
    public = Settings(**settings.model_dump() | {"s3_public_endpoint_url": "https://images.example.com"})
    store = ObjectStore(public)
    await store.put(key, b"picture", "image/png")
    assert store.download_url(key, 60).startswith(f"https://images.example.com/{settings.s3_bucket}/{key}?")


async def test_a_store_that_is_away_is_reported_as_such(settings: Settings, key: str) -> None:
    with closed_port() as port:
        away = Settings(**settings.model_dump() | {"s3_endpoint_url": f"http://127.0.0.1:{port}"})
        with pytest.raises(StorageUnavailable):
            await ObjectStore(away).get(key)


async def test_a_store_that_refuses_our_key_is_reported_as_away(settings: Settings, key: str) -> None:
    wrong = Settings(**settings.model_dump() | {"s3_secret_access_key": "wrong"})
    with pytest.raises(StorageUnavailable):
        await ObjectStore(wrong).put(key, b"picture", "image/png")
