"""The registry of models, and the digest that pins what was vetted."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from impasto_core.database import Database
from impasto_core.models.service import find_model, folder_digest
from impasto_core.organizations.service import create_organization, find_organization
from tests.support.tenants import register_model


async def test_putting_a_model_again_changes_it_and_keeps_its_id(owner_database: Database) -> None:
    first = await register_model(owner_database, "tiny", max_pixels=64 * 64)
    again = await register_model(owner_database, "tiny", max_pixels=128 * 128)
    assert again.id == first.id
    async with owner_database.session() as session:
        found = await find_model(session, "tiny")
    assert found is not None
    assert found.max_pixels == 128 * 128
    assert found.created_at == first.created_at


async def test_only_enabled_models_are_found(owner_database: Database) -> None:
    await register_model(owner_database, "tiny")
    await register_model(owner_database, "tiny", enabled=False)
    async with owner_database.session() as session:
        assert await find_model(session, "tiny") is None
        assert await find_model(session, "huge") is None


async def test_an_organization_is_found_by_its_slug_which_is_its_own(owner_database: Database) -> None:
    async with owner_database.session() as session:
        made = await create_organization(session, slug="atelier", name="Atelier")
    async with owner_database.session() as session:
        found = await find_organization(session, "atelier")
        assert found is not None
        assert found.id == made.id
        with pytest.raises(IntegrityError):
            await create_organization(session, slug="atelier", name="Another")
        await session.rollback()


def test_the_digest_changes_with_any_byte_name_or_file(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "weights").write_bytes(b"123")
    (tmp_path / "index.json").write_bytes(b"{}")
    digests = [folder_digest(tmp_path)]
    assert digests[0].startswith("sha256:")
    assert folder_digest(tmp_path) == digests[0]

    (tmp_path / "unet" / "weights").write_bytes(b"124")
    digests.append(folder_digest(tmp_path))
    (tmp_path / "unet" / "weights").rename(tmp_path / "unet" / "weight")
    digests.append(folder_digest(tmp_path))
    (tmp_path / "extra").touch()
    digests.append(folder_digest(tmp_path))
    assert len(set(digests)) == len(digests)
