from __future__ import annotations

from typing import Generic

from .._core import Core
from .._twin import Colour, Coloured


class Resource(Coloured[Colour], Generic[Colour]):
    def __init__(self, core: Core) -> None:
        self._core = core
