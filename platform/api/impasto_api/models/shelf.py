"""The models that jobs name, from memory."""

from __future__ import annotations

from impasto_api.memory import Memory
from impasto_core.database import Database
from impasto_core.models.service import find_model
from impasto_core.models.tables import Model


class Models:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.memory: Memory[Model] = Memory("model_changed")

    async def find(self, slug: str) -> Model | None:
        """The enabled model of that slug. It is everybody's, and in no session: not to be changed."""

        async def read() -> Model | None:
            async with self._database.session() as session:
                return await find_model(session, slug)

        return await self.memory.find(slug, read)
