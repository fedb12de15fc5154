"""Which limits there are, and whose each is."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from slowapi.util import get_remote_address
from starlette.requests import HTTPConnection, Request

from impasto_api.auth.keys import Principal
from impasto_core.settings import Settings

_IPV6_PREFIX = 64
"""What one customer of a provider is given at least: single addresses are free to him."""


@dataclass(frozen=True)
class Policy:
    """A limit kept for one subject: no more than `limit.amount` requests in any `limit.get_expiry()` seconds.

    `name` is what RateLimit-Policy calls it. Usage is counted under name and subject alone, so that a new
    amount, when the plan changes, holds for what was used before.
    """

    name: str
    subject: str
    limit: RateLimitItem

    @property
    def key(self) -> str:
        return f"rate_limits:{self.name}:{self.subject}"

    @property
    def window_ms(self) -> int:
        return self.limit.get_expiry() * 1000


@dataclass(frozen=True)
class Charge:
    """What a request takes of a limit. With a cost of 0 it takes nothing, and yet needs something left."""

    policy: Policy
    cost: int = 1


def address(settings: Settings, request: HTTPConnection) -> Policy:
    """Requests without a key that this process knows."""
    limit = RateLimitItemPerMinute(settings.address_requests_per_minute)
    return Policy("address", _network(_host(request)), limit)


def failed_authentications(settings: Settings, request: HTTPConnection) -> Policy:
    """Wrong keys: nobody finds one by trying."""
    limit = RateLimitItemPerMinute(settings.failed_authentications_per_minute)
    return Policy("failed-authentications", _network(_host(request)), limit)


def requests(principal: Principal) -> list[Policy]:
    """All requests of a key and of its organization. A key has half, so that none shuts out the others."""
    amount = principal.plan.requests_per_minute
    if amount is None:
        return []
    return [
        Policy("key", str(principal.api_key_id), RateLimitItemPerMinute((amount + 1) // 2)),
        Policy("organization", str(principal.organization_id), RateLimitItemPerMinute(amount)),
    ]


def job_creations(principal: Principal) -> list[Policy]:
    """Jobs that the organization makes, whichever key it uses."""
    amount = principal.plan.jobs_per_hour
    if amount is None:
        return []
    return [Policy("job-creations", str(principal.organization_id), RateLimitItemPerHour(amount))]


def _host(request: HTTPConnection) -> str:
    return get_remote_address(cast(Request, request))  # it looks only at what a WebSocket has too


@lru_cache(maxsize=4096)
def _network(host: str) -> str:
    """An IPv4 address itself; of an IPv6 address the network that its owner can choose from."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host[:100]
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, _IPV6_PREFIX), strict=False))
