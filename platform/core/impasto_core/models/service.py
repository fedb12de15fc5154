"""Putting models into the registry, and finding them there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.models.tables import Model

_CHUNK = 1 << 20


def files_below(folder: Path) -> Iterator[Path]:
    """Every file of a model, in the order in which its digest is made."""
    return iter(sorted(path for path in folder.rglob("*") if path.is_file()))


def folder_digest(folder: Path) -> str:
    """`sha256:` over the relative name, length and bytes of every file below the folder."""
    digest = hashlib.sha256()
    for path in files_below(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


async def find_model(session: AsyncSession, slug: str) -> Model | None:
    """The enabled model of that slug."""
    found = await session.exec(select(Model).where(Model.slug == slug, col(Model.enabled)))
    return found.one_or_none()


async def put_model(session: AsyncSession, model: Model) -> Model:
    """Add the model, or change the one of the same slug, whose id stays. Needs the owner role."""
    existing = (await session.exec(select(Model).where(Model.slug == model.slug))).one_or_none()
    if existing is None:
        session.add(model)
        return model
    existing.sqlmodel_update(model.model_dump(exclude={"id", "created_at"}))
    session.add(existing)
    return existing
