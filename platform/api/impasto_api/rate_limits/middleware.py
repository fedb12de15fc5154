"""Where requests meet their limits: before their bodies are read.

A request with a key that this process knows is held against the limits of key and organization. Any other is
held against those of its address before the key is looked up, and against those of the key once it is found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto_api.auth.keys import Principal
from impasto_api.problems import QuotaExceeded, respond
from impasto_api.rate_limits import policies
from impasto_api.rate_limits.headers import rate_limit, rate_limit_policy, seconds
from impasto_api.rate_limits.policies import Charge, Policy
from impasto_api.rate_limits.windows import Quota

if TYPE_CHECKING:
    from impasto_api.services import Services

UNLIMITED = {
    "/livez",
    "/readyz",
    "/v1/billing/webhooks/stripe",
    "/v1/billing/webhooks/lemon-squeezy",
}
"""What the platform itself asks for, all the time, and what payment providers send: in bursts, and signed."""


class RequestLimits:
    """The limits that one request has met so far: its headers tell of them."""

    def __init__(self, services: Services, request: HTTPConnection) -> None:
        self._services = services
        self._request = request
        self._quotas: dict[str, Quota] = {}
        self.principal: Principal | None = None

    async def arrive(self) -> None:
        """Raises QuotaExceeded."""
        scheme, _, token = self._request.headers.get("authorization", "").partition(" ")
        known = self._services.keys.recall(token.strip()) if scheme.lower() == "bearer" else None
        if known is not None:
            await self.admit(known)
            return
        settings = self._services.settings
        await self._take(
            Charge(policies.address(settings, self._request)),
            Charge(policies.failed_authentications(settings, self._request), cost=0),
        )

    async def admit(self, principal: Principal) -> None:
        """Count a request of this key, once. Raises QuotaExceeded."""
        if self.principal is None:
            self.principal = principal
            self._quotas.clear()  # whose address it is no longer matters
            await self._take(*map(Charge, policies.requests(principal)))

    async def count_failed_authentication(self) -> None:
        """Raises QuotaExceeded."""
        await self._take(Charge(policies.failed_authentications(self._services.settings, self._request)))

    async def count_job(self, principal: Principal) -> None:
        """Raises QuotaExceeded."""
        await self._take(*map(Charge, policies.job_creations(principal)))

    def write(self, headers: MutableHeaders) -> None:
        if self._quotas:
            headers["RateLimit-Policy"] = rate_limit_policy(self._quotas.values())
            headers["RateLimit"] = rate_limit(self._quotas.values())

    async def _take(self, *charges: Charge) -> None:
        if not charges:
            return
        quotas = await self._services.limiter.take(charges)
        self._quotas |= {quota.policy.name: quota for quota in quotas}
        if violated := [quota for quota in quotas if not quota.allowed]:
            raise _exceeded(violated)


def _exceeded(violated: Iterable[Quota]) -> QuotaExceeded:
    names = [quota.policy.name for quota in violated]
    longest = max(violated, key=lambda quota: quota.reset_ms)
    return QuotaExceeded(names, _explain(longest.policy), retry_after=seconds(longest))


def _explain(policy: Policy) -> str:
    unit = f"{policy.limit.amount} in {policy.limit.get_expiry()} seconds"
    return {
        "address": f"Without a valid API key an address may send {unit}.",
        "failed-authentications": f"Too many wrong API keys came from this address: {unit} at most.",
        "key": f"A key may send {unit}: half of what its organization may.",
        "organization": f"Your organization may send {unit}.",
        "job-creations": f"Your plan makes {policy.limit.amount} jobs an hour. See GET /v1/plans for more.",
    }[policy.name]


class RateLimits:
    """ASGI middleware: refuses who asks too often, and tells everyone how their limits stand."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        limits = RequestLimits(scope["app"].state.services, request)
        scope["state"]["rate_limits"] = limits

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                limits.write(MutableHeaders(scope=message))
            await send(message)

        try:
            await limits.arrive()
        except QuotaExceeded as problem:
            await respond(request, problem)(scope, receive, send_with_limits)
            return
        await self._app(scope, receive, send_with_limits)


async def _request_limits(request: Request) -> RequestLimits:
    limits: RequestLimits = request.state.rate_limits
    return limits


RequestLimitsDep = Annotated[RequestLimits, Depends(_request_limits)]
