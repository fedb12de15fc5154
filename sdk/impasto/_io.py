"""The only module that touches the network, the disk or the clock: the same few coroutines, blocking or not.

`BlockingIO` never suspends (see `_twin`): its coroutines do their work and return.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol, TypedDict, TypeVar

import httpx

from ._clock import Clock
from ._exceptions import APIConnectionError, APITimeoutError

T = TypeVar("T")


class _Plain(TypedDict):
    auth: None
    follow_redirects: bool


# Whatever the caller's http_client is set to: our key is the only credential, and it goes nowhere but where
# it was sent. A redirect is reported, not followed.
_PLAIN: _Plain = {"auth": None, "follow_redirects": False}


class Body(Protocol):
    """A response that is being read piece by piece."""

    response: httpx.Response

    async def chunk(self) -> bytes:
        """The next piece, or b"" at the end."""
        ...

    async def read(self) -> None:
        """All of it, so that `response` can be looked at."""
        ...

    async def close(self) -> None: ...


class IO(Protocol):
    """Everything that has to do with the network raises APIConnectionError when it fails."""

    blocking: bool
    clock: Clock

    @property
    def client(self) -> httpx.Client | httpx.AsyncClient: ...

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send, and read the whole answer."""
        ...

    async def open(self, request: httpx.Request) -> Body:
        """Send, and read no more than the head of the answer."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def do(self, work: Callable[[], T]) -> T:
        """Blocking work such as reading a file: off the event loop where there is one."""
        ...

    async def close(self) -> None: ...


class BlockingIO:
    blocking = True

    def __init__(self, client: httpx.Client | None, clock: Clock) -> None:
        self.clock = clock
        self._client = client
        self._owns_client = client is None
        self._lock = Lock()

    @property
    def client(self) -> httpx.Client:
        with self._lock:
            if self._client is None:  # made at the first request: loading the TLS roots is not free
                self._client = httpx.Client()
            return self._client

    async def send(self, request: httpx.Request) -> httpx.Response:
        with _translated_errors():
            return self.client.send(request, **_PLAIN)

    async def open(self, request: httpx.Request) -> BlockingBody:
        with _translated_errors():
            return BlockingBody(self.client.send(request, stream=True, **_PLAIN))

    async def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    async def do(self, work: Callable[[], T]) -> T:
        return work()

    async def close(self) -> None:
        if self._owns_client and self._client is not None:
            self._client.close()


class BlockingBody:
    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._chunks: Iterator[bytes] = response.iter_bytes()

    async def chunk(self) -> bytes:
        with _translated_errors():
            return next(self._chunks, b"")

    async def read(self) -> None:
        with _translated_errors():
            self.response.read()

    async def close(self) -> None:
        self.response.close()


class AsyncIO:
    blocking = False

    def __init__(self, client: httpx.AsyncClient | None, clock: Clock) -> None:
        self.clock = clock
        self._client = client
        self._owns_client = client is None

    @property
    def client(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient()
        return self._client

    async def send(self, request: httpx.Request) -> httpx.Response:
        with _translated_errors():
            return await self.client.send(request, **_PLAIN)

    async def open(self, request: httpx.Request) -> AsyncBody:
        with _translated_errors():
            return AsyncBody(await self.client.send(request, stream=True, **_PLAIN))

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep_async(seconds)

    async def do(self, work: Callable[[], T]) -> T:
        from anyio.to_thread import run_sync

        return await run_sync(work)

    async def close(self) -> None:
        if self._owns_client and self._client is not None:
            await self._client.aclose()


class AsyncBody:
    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()

    async def chunk(self) -> bytes:
        with _translated_errors():
            return await anext(self._chunks, b"")

    async def read(self) -> None:
        with _translated_errors():
            await self.response.aread()

    async def close(self) -> None:
        await self.response.aclose()


_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@contextmanager
def _translated_errors() -> Generator[None]:
    """Our errors for httpx's, with the host's name in them."""
    try:
        yield
    except httpx.RequestError as error:
        kind = APITimeoutError if isinstance(error, httpx.TimeoutException) else APIConnectionError
        message = f"no answer from {error.request.url.host}: {str(error) or type(error).__name__}"
        raise kind(message, sent=not isinstance(error, _NEVER_SENT)) from error
