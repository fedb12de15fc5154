"""From a model's entry in the registry to a folder on this machine."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from impasto_core.models.service import folder_digest
from impasto_core.models.tables import Model
from impasto_core.storage import ObjectNotFound, ObjectStore

logger = logging.getLogger(__name__)


class ModelUnavailable(Exception):
    """The model cannot be used by this worker; the message says why, for the log."""


class ModelFiles:
    """`file://` folders are used in place; an `s3://` prefix is copied to `cache` once, and verified."""

    def __init__(self, cache: Path, open_bucket: Callable[[str], ObjectStore]) -> None:
        self._cache = cache
        self._open_bucket = open_bucket

    async def folder(self, model: Model) -> Path:
        """Where the model lies. Raises ModelUnavailable, StorageUnavailable."""
        source = urlsplit(model.source)
        if source.scheme == "file":
            return existing_folder(Path(url2pathname(source.path)))
        if source.scheme == "s3":
            return await self._cached(model, source.netloc, source.path.strip("/") + "/")
        raise ModelUnavailable(f"{model.source} is neither file:// nor s3://")

    async def _cached(self, model: Model, bucket: str, prefix: str) -> Path:
        folder = self._cache / model.digest.replace(":", "-")
        if folder.is_dir():
            return folder
        self._cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".fetching-", dir=self._cache))
        try:
            await self._fetch(model, self._open_bucket(bucket), prefix, draft)
            digest = await asyncio.to_thread(folder_digest, draft)
            if digest != model.digest:
                raise ModelUnavailable(f"{model.source} has digest {digest}, and {model.digest} was vetted")
            _move(draft, folder)
        except (ObjectNotFound, OSError) as error:
            raise ModelUnavailable(f"could not fetch {model.source}: {error}") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
        return folder

    async def _fetch(self, model: Model, store: ObjectStore, prefix: str, folder: Path) -> None:
        sizes = await store.sizes_below(prefix)
        if not sizes:
            raise ModelUnavailable(f"there is nothing below {model.source}")
        total, fetched = sum(sizes.values()), 0
        for key, size in sizes.items():
            name = PurePosixPath(key.removeprefix(prefix))
            if ".." in name.parts or name.is_absolute():
                raise ModelUnavailable(f"{model.source} has an object of the name {key}")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            await store.download(key, path)
            fetched += size
            logger.info("fetching %s: %.0f of %.0f MB", model.slug, fetched / 1e6, total / 1e6)


def existing_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelUnavailable(f"there is no folder {folder}")
    return folder


def _move(draft: Path, folder: Path) -> None:
    """Another worker of this machine may have been faster, with the same bytes."""
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
