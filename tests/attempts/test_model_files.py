"""Models are fetched from where they lie, and used only as they were vetted."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from impasto_core.models.service import files_below, folder_digest
from impasto_core.models.tables import Model
from impasto_core.settings import Settings
from impasto_core.storage import ObjectStore, StorageUnavailable
from impasto_workers.model_files import ModelFiles, ModelUnavailable


def model_at(source: str, digest: str = "sha256:0") -> Model:
    return Model(slug="m", name="M", base="sd-1", source=source, digest=digest)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    folder = tmp_path / "original"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "unet" / "weights.safetensors").write_bytes(b"weights" * 1000)
    return folder


class Shelf:
    """A prefix in the bucket, and a worker's cache beside it."""

    def __init__(self, settings: Settings, cache: Path) -> None:
        self.store = ObjectStore(settings)
        self.opened = 0
        self.cache = cache
        self.prefix = f"models/{secrets.token_hex(4)}"
        self.source = f"s3://{settings.s3_bucket}/{self.prefix}"
        self.files = ModelFiles(cache, self._open)
        self._settings = settings

    def _open(self, bucket: str) -> ObjectStore:
        self.opened += 1
        return ObjectStore(self._settings, bucket)

    async def put(self, folder: Path) -> None:
        for path in files_below(folder):
            key = f"{self.prefix}/{path.relative_to(folder)}"
            await self.store.put(key, path.read_bytes(), "application/octet-stream")


@pytest.fixture
def shelf(settings: Settings, tmp_path: Path) -> Shelf:
    return Shelf(settings, tmp_path / "cache")


async def test_a_folder_is_used_where_it_is(shelf: Shelf, original: Path) -> None:
    assert await shelf.files.folder(model_at(original.as_uri())) == original


async def test_a_prefix_is_copied_once(shelf: Shelf, original: Path) -> None:
    await shelf.put(original)
    model = model_at(shelf.source, folder_digest(original))
    copy = await shelf.files.folder(model)
    assert folder_digest(copy) == model.digest
    assert await shelf.files.folder(model) == copy
    assert shelf.opened == 1
    assert list(shelf.cache.iterdir()) == [copy]


async def test_a_copy_that_is_not_what_was_vetted_is_thrown_away(shelf: Shelf, original: Path) -> None:
    await shelf.put(original)
    with pytest.raises(ModelUnavailable, match="was vetted"):
        await shelf.files.folder(model_at(shelf.source, "sha256:of something else"))
    assert list(shelf.cache.iterdir()) == []


async def test_another_models_objects_do_not_belong_to_it(shelf: Shelf, original: Path) -> None:
    await shelf.put(original)
    await shelf.store.put(f"{shelf.prefix}-large/weights", b"other", "application/octet-stream")
    copy = await shelf.files.folder(model_at(shelf.source, folder_digest(original)))
    assert folder_digest(copy) == folder_digest(original)


@pytest.mark.parametrize("source", ["file:///nowhere", "https://example.com/m", "s3://{bucket}/nothing/here"])
async def test_a_model_that_is_not_there_is_unavailable(
    shelf: Shelf, settings: Settings, source: str
) -> None:
    with pytest.raises(ModelUnavailable):
        await shelf.files.folder(model_at(source.format(bucket=settings.s3_bucket)))


async def test_an_object_cannot_be_written_outside_of_the_cache(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sizes(self: ObjectStore, prefix: str) -> dict[str, int]:
        return {f"{prefix}../../escaped": 1}

    monkeypatch.setattr(ObjectStore, "sizes_below", sizes)
    with pytest.raises(ModelUnavailable, match="of the name"):
        await shelf.files.folder(model_at(shelf.source))


async def test_a_store_that_is_away_is_not_the_models_fault(settings: Settings, tmp_path: Path) -> None:
    away = settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    files = ModelFiles(tmp_path, lambda bucket: ObjectStore(away, bucket))
    with pytest.raises(StorageUnavailable):
        await files.folder(model_at("s3://impasto/model"))
    assert ".fetching-" not in str(os.listdir(tmp_path))
