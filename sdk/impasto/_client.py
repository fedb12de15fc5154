from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Self

import httpx

from ._clock import Clock
from ._core import DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT, Core
from ._exceptions import ImpastoError
from ._io import IO, AsyncIO, BlockingIO
from ._twin import Async, Colour, Sync, run

if TYPE_CHECKING:
    from .resources.api_keys import ApiKeys
    from .resources.billing import Billing
    from .resources.credits import Credits
    from .resources.images import Images
    from .resources.jobs import Jobs
    from .resources.models import Models
    from .resources.nodes import Nodes
    from .resources.pipelines import Pipelines
    from .resources.plans import Plans
    from .resources.quotes import Quotes
    from .resources.spending import SpendAlerts, SpendCaps
    from .resources.uploads import Uploads
    from .resources.usage import Usage
    from .resources.webhooks import Webhooks
    from .resources.workflows import Workflows

DEFAULT_BASE_URL = "https://api.impasto.dev"


class _Client(Generic[Colour]):
    """What both clients are. A resource is imported when it is first used."""

    def __init__(
        self,
        io: IO,
        api_key: str | None,
        base_url: str | None,
        timeout: float | httpx.Timeout,
        max_retries: int,
    ) -> None:
        api_key = api_key or os.environ.get("IMPASTO_API_KEY")
        if not api_key:
            raise ImpastoError("No API key: pass api_key=... or set IMPASTO_API_KEY.")
        base_url = base_url or os.environ.get("IMPASTO_BASE_URL") or DEFAULT_BASE_URL
        if not base_url.startswith(("https://", "http://")):
            raise ImpastoError(f"base_url must start with https:// or http://, and {base_url!r} does not.")
        self._core = Core(
            io, base_url.rstrip("/").removesuffix("/v1"), api_key, httpx.Timeout(timeout), max_retries
        )

    @cached_property
    def images(self) -> Images[Colour]:
        """Make pictures; get, list and delete them."""
        from .resources.images import Images

        return Images(self._core)

    @cached_property
    def jobs(self) -> Jobs[Colour]:
        """What makes the pictures: create, follow, cancel."""
        from .resources.jobs import Jobs

        return Jobs(self._core)

    @cached_property
    def quotes(self) -> Quotes[Colour]:
        """What jobs would cost."""
        from .resources.quotes import Quotes

        return Quotes(self._core)

    @cached_property
    def uploads(self) -> Uploads[Colour]:
        """Pictures to start from."""
        from .resources.uploads import Uploads

        return Uploads(self._core)

    @cached_property
    def models(self) -> Models[Colour]:
        """What the pictures are made with."""
        from .resources.models import Models

        return Models(self._core)

    @cached_property
    def nodes(self) -> Nodes[Colour]:
        """What graphs are made of."""
        from .resources.nodes import Nodes

        return Nodes(self._core)

    @cached_property
    def workflows(self) -> Workflows[Colour]:
        """Workflows of InvokeAI's editor as endpoints of your own."""
        from .resources.workflows import Workflows

        return Workflows(self._core)

    @cached_property
    def pipelines(self) -> Pipelines[Colour]:
        """How the pictures are made."""
        from .resources.pipelines import Pipelines

        return Pipelines(self._core)

    @cached_property
    def api_keys(self) -> ApiKeys[Colour]:
        """Keys like the one this client has."""
        from .resources.api_keys import ApiKeys

        return ApiKeys(self._core)

    @cached_property
    def plans(self) -> Plans[Colour]:
        """What is sold."""
        from .resources.plans import Plans

        return Plans(self._core)

    @cached_property
    def spend_caps(self) -> SpendCaps[Colour]:
        """What may be spent in a month."""
        from .resources.spending import SpendCaps

        return SpendCaps(self._core)

    @cached_property
    def spend_alerts(self) -> SpendAlerts[Colour]:
        """How near spending came to the caps."""
        from .resources.spending import SpendAlerts

        return SpendAlerts(self._core)

    @cached_property
    def usage(self) -> Usage[Colour]:
        """What was made, and what it cost."""
        from .resources.usage import Usage

        return Usage(self._core)

    @cached_property
    def billing(self) -> Billing[Colour]:
        """Buy credits, subscribe, and see what was billed."""
        from .resources.billing import Billing

        return Billing(self._core)

    @cached_property
    def credits(self) -> Credits[Colour]:
        """What there is to spend, and where it went."""
        from .resources.credits import Credits

        return Credits(self._core)

    @cached_property
    def webhooks(self) -> Webhooks[Colour]:
        """What is sent to you: endpoints, deliveries and secrets. `impasto.webhooks` reads it."""
        from .resources.webhooks import Webhooks

        return Webhooks(self._core)

    def with_options(
        self, *, timeout: float | httpx.Timeout | None = None, max_retries: int | None = None
    ) -> Self:
        """The same connections with other options: `client.with_options(timeout=5).jobs.get(...)`."""
        twin = type(self).__new__(type(self))
        twin._core = self._core.with_options(timeout, max_retries)
        return twin

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._core.base_url!r})"


class Impasto(_Client[Sync]):
    """The client.

        client = Impasto()
        client.images.generate("a lighthouse at dusk")[0].save("lighthouse.png")

    Threads may share one.

    Args:
        api_key: by default `IMPASTO_API_KEY`.
        base_url: where the API is; by default `IMPASTO_BASE_URL`, or the public API.
        timeout: seconds a single request may take. Waiting for a job has a timeout of its own.
        max_retries: how often a request is tried again.
        http_client: an `httpx.Client` of yours, for proxies, certificates or tests. You close it.
        clock: for tests.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float | httpx.Timeout = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_MAX_RETRIES,
        http_client: httpx.Client | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(BlockingIO(http_client, clock or Clock()), api_key, base_url, timeout, max_retries)

    def close(self) -> None:
        """Close the connections."""
        run(self._core.io.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncImpasto(_Client[Async]):
    """The asynchronous client.

        async with AsyncImpasto() as client:
            images = await client.images.generate("a lighthouse at dusk")
            await images[0].save("lighthouse.png")

    Its arguments are those of `Impasto`; `http_client` is an `httpx.AsyncClient`.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float | httpx.Timeout = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_MAX_RETRIES,
        http_client: httpx.AsyncClient | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(AsyncIO(http_client, clock or Clock()), api_key, base_url, timeout, max_retries)

    async def close(self) -> None:
        """Close the connections."""
        await self._core.io.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
