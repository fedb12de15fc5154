from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import httpx
from pydantic import BaseModel, ConfigDict, PrivateAttr

from .._exceptions import ImpastoError
from .._twin import Twin, TwinProperty

if TYPE_CHECKING:
    from .._core import Core, Origin


class Result(BaseModel):
    """What the API answered. Fields that this version does not know are kept, as attributes too."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow",
        frozen=True,
        protected_namespaces=(),
        ignored_types=(Twin, TwinProperty),
        defer_build=True,  # validators are built at the first answer, not at import
    )
    _origin: Origin | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:

        def __class_getitem__(cls, colour: object) -> type[Result]:
            return cls  # `Job[Async]` matters to type checkers; at run time there is one `Job`

    def model_post_init(self, context: Any, /) -> None:
        self._origin = context

    @property
    def response(self) -> httpx.Response:
        """The HTTP response this came in: status_code, headers, content, elapsed..."""
        return self._known_origin.response

    @property
    def request_id(self) -> str | None:
        """Tell it to support."""
        return self._known_origin.request_id

    @property
    def _core(self) -> Core:
        return self._known_origin.core

    @property
    def _known_origin(self) -> Origin:
        if self._origin is None:
            raise ImpastoError(
                "this result was copied or unpickled, and has no client: get it again by its id"
            )
        return self._origin
