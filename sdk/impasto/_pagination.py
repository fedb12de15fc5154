"""Lists that come in pages, and iterate as if they did not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import httpx

from . import _request as ask
from ._core import Core
from ._twin import Twin, run
from .types._base import Result

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Listing(Generic[T]):
    """A list of the API with its filters, before any of it was fetched."""

    path: str
    item: type[T]
    params: dict[str, object] = field(default_factory=dict[str, object])

    async def fetch(self, core: Core) -> Envelope[T]:
        origin = await core.send(ask.get(self.path, Slice, self.params))
        page = origin.read(Slice)
        return Envelope(core, self, page, [origin.read(self.item, item) for item in page.data])

    def after(self, cursor: str) -> Listing[T]:
        return Listing(self.path, self.item, {**self.params, "cursor": cursor})


class Slice(Result):
    """A page as it travels."""

    data: list[dict[str, Any]]
    has_more: bool = False
    next_cursor: str | None = None


@dataclass(frozen=True)
class Envelope(Generic[T]):
    """A page with its items read, and where the next one is."""

    core: Core
    listing: Listing[T]
    slice: Slice
    items: list[T]

    async def following(self) -> Envelope[T] | None:
        cursor = self.slice.next_cursor
        return await self.listing.after(cursor).fetch(self.core) if self.slice.has_more and cursor else None


class _Page(Generic[T]):
    def __init__(self, envelope: Envelope[T]) -> None:
        self._envelope = envelope

    @property
    def data(self) -> list[T]:
        """The items of this page."""
        return self._envelope.items

    @property
    def has_more(self) -> bool:
        """Whether another page follows."""
        return self._envelope.slice.has_more

    @property
    def next_cursor(self) -> str | None:
        return self._envelope.slice.next_cursor

    @property
    def response(self) -> httpx.Response:
        """The HTTP response this page came in."""
        return self._envelope.slice.response

    @property
    def request_id(self) -> str | None:
        return self._envelope.slice.request_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}(data={self.data!r}, has_more={self.has_more})"


class Page(_Page[T]):
    """One page. Iterating over it goes on through the pages that follow, fetching each when it is reached."""

    def next_page(self) -> Page[T] | None:
        envelope = run(self._envelope.following())
        return Page(envelope) if envelope else None

    def __iter__(self) -> Iterator[T]:
        page: Page[T] | None = self
        while page:
            yield from page.data
            page = page.next_page()


class AsyncPage(_Page[T]):
    """One page. `async for` goes on through the pages that follow, fetching each when it is reached."""

    async def next_page(self) -> AsyncPage[T] | None:
        envelope = await self._envelope.following()
        return AsyncPage(envelope) if envelope else None

    async def __aiter__(self) -> AsyncIterator[T]:
        page: AsyncPage[T] | None = self
        while page:
            for item in page.data:
                yield item
            page = await page.next_page()


class AsyncPages(Generic[T]):
    """What an asynchronous `list()` returns: `await` it for its first page, or `async for` through it all."""

    def __init__(self, core: Core, listing: Listing[T]) -> None:
        self._core = core
        self._listing = listing

    async def _first(self) -> AsyncPage[T]:
        return AsyncPage(await self._listing.fetch(self._core))

    def __await__(self) -> Generator[Any, Any, AsyncPage[T]]:
        return self._first().__await__()

    async def __aiter__(self) -> AsyncIterator[T]:
        async for item in await self._first():
            yield item


def paged(build: Callable[Concatenate[Any, P], Listing[T]]) -> Twin[P, Page[T], AsyncPages[T]]:
    """A method that lists: the decorated function only says what."""
    return Twin(
        build, sync=lambda core, listing: Page(run(listing.fetch(core))), asynchronous=AsyncPages[Any]
    )
