"""One attempt over HTTP, which costs little whatever the receiver does: it answers with a gigabyte, a byte a
second, a redirect, or never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

import httpcore

from impasto_core.clock import Clock, utc_now
from impasto_core.webhooks.guard import AddressRefused, Guard, GuardedNetwork, UrlRefused
from impasto_workers.webhooks.schedule import parse_retry_after

ATTEMPT_SECONDS = 15.0
"""From the resolution of the name to the response's headers."""

BODY_SECONDS = 2.0
"""Then the answer is known: its body is for the log alone."""

MAX_BODY_BYTES = 4096
MAX_HEADERS = 50
MAX_HEADER_LENGTH = 500
_NOT_LOGGED = {"set-cookie", "set-cookie2", "www-authenticate", "proxy-authenticate"}

REQUEST_HEADERS = {
    "content-type": "application/json",
    "user-agent": "Impasto-Webhooks/1.0",
    "accept-encoding": "identity",
    "connection": "close",
}


@dataclass(frozen=True)
class Answer:
    """What came of it. `status` is None where nothing did, and then `error` says why, to the owner."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    error: str | None = None
    retry_after: timedelta | None = None

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        return self.status == 410


class Sender:
    """Opens a connection for each attempt: nothing of one receiver's is left for another."""

    def __init__(
        self,
        guard: Guard,
        clock: Clock = utc_now,
        *,
        attempt_seconds: float = ATTEMPT_SECONDS,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._attempt_seconds = attempt_seconds
        self._body_seconds = body_seconds
        self._network = GuardedNetwork(guard)
        self._tls = httpcore.default_ssl_context()

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """`headers` are all that is sent, but for `Host` and `Content-Length`."""
        try:
            target = self._guard.check_url(url)
            # Ours, since httpcore's own leaves out the brackets around an IPv6 address.
            host = urlsplit(url).netloc
            return await self._post(target, {"host": host, **headers}, body)
        except UrlRefused as error:
            return Answer(error=f"The URL is refused. {error}")
        except AddressRefused as error:
            return Answer(error=f"The address is refused: {error}.")
        except (TimeoutError, httpcore.TimeoutException):
            return Answer(error=f"There was no answer within {self._attempt_seconds:g} seconds.")
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return Answer(error=f"{type(error).__name__}: {error}"[:500].replace("\0", ""))

    async def _post(self, url: httpcore.URL, headers: Mapping[str, str], body: bytes) -> Answer:
        async with AsyncExitStack() as undo:
            async with asyncio.timeout(self._attempt_seconds):
                connection = await undo.enter_async_context(
                    httpcore.AsyncHTTPConnection(
                        url.origin, ssl_context=self._tls, network_backend=self._network
                    )
                )
                response = await undo.enter_async_context(
                    connection.stream("POST", url, headers=list(headers.items()), content=body)
                )
            read = await _beginning(response, self._body_seconds)
        return self._answer(response, read)

    def _answer(self, response: httpcore.Response, body: bytes) -> Answer:
        received = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
        }
        retry_after = received.get("retry-after")
        return Answer(
            status=response.status,
            headers={
                name[:MAX_HEADER_LENGTH]: value[:MAX_HEADER_LENGTH]
                for name, value in list(received.items())[:MAX_HEADERS]
                if name not in _NOT_LOGGED
            },
            body=body.decode(errors="replace").replace("\0", "\ufffd"),
            retry_after=parse_retry_after(retry_after, self._clock()) if retry_after else None,
        )


async def _beginning(response: httpcore.Response, seconds: float) -> bytes:
    """Of its body, as much as comes in time. The rest is never read: the connection is closed."""
    read = bytearray()
    with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
        async with asyncio.timeout(seconds):
            async for chunk in response.aiter_stream():
                read += chunk[: MAX_BODY_BYTES - len(read)]
                if len(read) == MAX_BODY_BYTES:
                    break
    return bytes(read)
