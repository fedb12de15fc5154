"""RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers) as structured fields (RFC 9651)."""

from __future__ import annotations

from collections.abc import Iterable

from impasto_api.rate_limits.windows import Quota


def rate_limit_policy(quotas: Iterable[Quota]) -> str:
    """`"key";q=300;w=60, "job-creations";q=10;w=3600`: amounts, and windows in seconds."""
    return ", ".join(
        f'"{quota.policy.name}";q={quota.policy.limit.amount};w={quota.policy.limit.get_expiry()}'
        for quota in quotas
    )


def rate_limit(quotas: Iterable[Quota]) -> str:
    """`"key";r=299;t=60, "job-creations";r=9;t=3600`: what remains, and the seconds until there is more."""
    return ", ".join(f'"{quota.policy.name}";r={quota.remaining};t={seconds(quota)}' for quota in quotas)


def seconds(quota: Quota) -> int:
    """Whole seconds until there is more: never too few."""
    return -(-quota.reset_ms // 1000)
