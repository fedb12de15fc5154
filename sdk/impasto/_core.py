"""How a request becomes an answer: headers, tries, errors. Shared by both clients (see `_twin`)."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import httpx

from ._exceptions import APIConnectionError, APIError, ImpastoError, InvalidResponseError, StorageError
from ._io import IO, Body
from ._request import Request
from ._retry import delay_before_retry
from ._trace import trace_headers
from ._version import API_VERSION, __version__

T = TypeVar("T")

USER_AGENT = f"impasto-python/{__version__} (Python {platform.python_version()})"
DEFAULT_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
DEFAULT_MAX_RETRIES = 2


@dataclass(frozen=True)
class Core:
    io: IO
    base_url: str
    api_key: str = field(repr=False)
    timeout: httpx.Timeout
    max_retries: int

    def with_options(self, timeout: float | httpx.Timeout | None, max_retries: int | None) -> Self:
        return replace(
            self,
            timeout=self.timeout if timeout is None else httpx.Timeout(timeout),
            max_retries=self.max_retries if max_retries is None else max_retries,
        )

    async def request(self, request: Request[T]) -> T:
        """Send, retrying as the request allows, and read the answer.

        Raises:
            APIError: the API refused.
            APIConnectionError: there was no answer.
            InvalidResponseError: the answer makes no sense to this version.
        """
        origin = await self.send(request)
        return origin.read(request.result)

    async def send(self, request: Request[Any]) -> Origin:
        read = self.timeout.read
        read = read and max(read, request.read_timeout)
        response = await self._persist(
            self._build(request, read), repeatable=request.repeatable, refusal=APIError.of
        )
        return Origin(self, response)

    async def open(self, request: Request[Any], *, read_timeout: float) -> Body:
        """Begin to read a streamed answer. One try: a stream has its own way of reconnecting.

        Raises like `request`.
        """
        wire = self._build(request, read_timeout)
        try:
            body = await self.io.open(wire)
        finally:
            _forget_key(wire)
        if body.response.is_success:
            return body
        try:
            await body.read()
        finally:
            await body.close()
        raise APIError.of(body.response)

    async def put(self, url: str, headers: Mapping[str, str], content: bytes) -> None:
        """Upload to a presigned URL, with exactly the headers it was signed for and without the API key."""
        await self._transfer(httpx.Request("PUT", url, headers=headers, content=content))

    async def fetch(self, url: str) -> bytes:
        """Download from a presigned URL, without the API key."""
        return (await self._transfer(httpx.Request("GET", url))).content

    async def _transfer(self, wire: httpx.Request) -> httpx.Response:
        wire.extensions["timeout"] = self.timeout.as_dict()
        return await self._persist(wire, repeatable=True, refusal=StorageError)

    def _build(self, request: Request[Any], read_timeout: float | None) -> httpx.Request:
        headers = {
            "authorization": f"Bearer {self.api_key}",
            "user-agent": USER_AGENT,
            "accept": "application/json",
            "impasto-version": API_VERSION,
        }
        timeout = self.timeout
        return self.io.client.build_request(
            request.method,
            self.base_url + request.path,
            params=request.params or None,
            headers={**headers, **trace_headers(), **request.headers},
            content=request.body,
            timeout=httpx.Timeout(
                connect=timeout.connect, read=read_timeout, write=timeout.write, pool=timeout.pool
            ),
        )

    async def _persist(
        self, wire: httpx.Request, *, repeatable: bool, refusal: Callable[[httpx.Response], ImpastoError]
    ) -> httpx.Response:
        """Send the very same request until it is answered, or trying again makes no sense."""
        failures = 0
        try:
            while True:
                try:
                    response = await self.io.send(wire)
                    if response.is_success:
                        return response
                    error = refusal(response)
                except APIConnectionError as trouble:
                    error = trouble
                failures += 1
                delay = self.delay(error, failures, repeatable) if failures <= self.max_retries else None
                if delay is None:
                    raise error
                await self.io.sleep(delay)
        finally:
            _forget_key(wire)

    def delay(self, error: ImpastoError, failures: int, repeatable: bool = True) -> float | None:
        """Seconds until the next try, None for none: `delay_before_retry` by this client's clock."""
        clock = self.io.clock
        return delay_before_retry(
            error, failures=failures, repeatable=repeatable, now=clock.now(), random=clock.random()
        )


@dataclass(frozen=True)
class Origin:
    """Where a result came from: the client, for what it may fetch later, and the response."""

    core: Core
    response: httpx.Response
    downloads: dict[str, bytes] = field(default_factory=dict[str, bytes])  # image id -> content, fetched once

    @property
    def request_id(self) -> str | None:
        request_id: str | None = self.response.headers.get("x-request-id")
        return request_id

    def read(self, result: type[T], data: object = None) -> T:
        """A `result` (a model, or None) made of `data`, by default of the whole answer."""
        from pydantic import BaseModel  # half of our import time, so not before there is something to read

        if not issubclass(result, BaseModel):
            return result()
        try:
            return result.model_validate(self.response.json() if data is None else data, context=self)
        except ValueError as error:  # not JSON, or not what it should be
            raise InvalidResponseError(self.response, f"cannot read the answer: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin)  # two answers that say the same are equal

    def __hash__(self) -> int:
        return 0

    def __deepcopy__(self, memo: object) -> Origin:
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # a pickled result keeps its data, and forgets the client


def _forget_key(wire: httpx.Request) -> None:
    """Results and errors hand out their request, to be logged and pickled: not with the key in it."""
    wire.headers.pop("authorization", None)
