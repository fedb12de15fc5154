"""Moving windows: no more than so many requests in any span of the limit's length.

The same rules twice, in Redis for all processes together and in the memory of one: every charge of a request
is taken, or none is.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from impasto_api.rate_limits.policies import Charge, Policy

_CAPACITY = 10_000
"""Subjects that a process remembers by itself. Beyond, those seen last the longest ago are forgotten."""

# KEYS: for each limit a list of moments, newest first. ARGV: now, and then each limit's amount, window, cost.
# Returns for each limit whether it allows the request, what remains, and when some of it comes back.
_TAKE = """
local now = tonumber(ARGV[1])
local amounts, windows, costs, allows = {}, {}, {}, {}
local all_allow = true
for i, key in ipairs(KEYS) do
    amounts[i], windows[i] = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
    costs[i] = tonumber(ARGV[3 * i + 1])
    local oldest = redis.call('LINDEX', key, -1)
    while oldest and tonumber(oldest) <= now - windows[i] do
        redis.call('RPOP', key)
        oldest = redis.call('LINDEX', key, -1)
    end
    allows[i] = redis.call('LLEN', key) + math.max(costs[i], 1) <= amounts[i]
    all_allow = all_allow and allows[i]
end
local quotas = {}
for i, key in ipairs(KEYS) do
    if all_allow and costs[i] > 0 then
        for _ = 1, costs[i] do
            redis.call('LPUSH', key, ARGV[1])
        end
        redis.call('PEXPIRE', key, windows[i])
    end
    local used = redis.call('LLEN', key)
    local first_to_go = redis.call('LINDEX', key, -1 - math.max(used - amounts[i], 0))
    quotas[3 * i - 2] = allows[i] and 1 or 0
    quotas[3 * i - 1] = math.max(amounts[i] - used, 0)
    quotas[3 * i] = windows[i] - (first_to_go and now - tonumber(first_to_go) or 0)
end
return quotas
"""


@dataclass(frozen=True)
class Quota:
    """How a limit stands after a request."""

    policy: Policy
    allowed: bool
    remaining: int
    reset_ms: int
    """Until something comes back: where nothing remains, the next request is allowed then."""


class RedisWindows:
    """One round trip for all limits of a request."""

    def __init__(self, redis: Redis) -> None:
        self._take = redis.register_script(_TAKE)

    async def take(self, now_ms: int, charges: Sequence[Charge]) -> list[Quota]:
        """Raises redis.exceptions.RedisError."""
        numbers = [now_ms]
        for charge in charges:
            numbers += [charge.policy.limit.amount, charge.policy.window_ms, charge.cost]
        answer = cast(list[int], await self._take([charge.policy.key for charge in charges], numbers))
        return [
            Quota(charge.policy, allowed == 1, remaining, reset_ms)
            for charge, allowed, remaining, reset_ms in zip(
                charges, answer[0::3], answer[1::3], answer[2::3], strict=True
            )
        ]


class MemoryWindows:
    """The same within one process."""

    def __init__(self) -> None:
        self._moments: OrderedDict[str, deque[int]] = OrderedDict()

    def take(self, now_ms: int, charges: Sequence[Charge]) -> list[Quota]:
        used = [self._used(now_ms, charge.policy) for charge in charges]
        allows = [
            len(moments) + max(charge.cost, 1) <= charge.policy.limit.amount
            for charge, moments in zip(charges, used, strict=True)
        ]
        if all(allows):
            for charge, moments in zip(charges, used, strict=True):
                moments.extend([now_ms] * charge.cost)
        return [
            _quota(charge.policy, allowed, now_ms, moments)
            for charge, allowed, moments in zip(charges, allows, used, strict=True)
        ]

    def _used(self, now_ms: int, policy: Policy) -> deque[int]:
        """The moments that count, oldest first."""
        moments = self._moments.setdefault(policy.key, deque())
        self._moments.move_to_end(policy.key)
        if len(self._moments) > _CAPACITY:
            self._moments.popitem(last=False)
        while moments and moments[0] <= now_ms - policy.window_ms:
            moments.popleft()
        return moments


def _quota(policy: Policy, allowed: bool, now_ms: int, moments: deque[int]) -> Quota:
    excess = max(len(moments) - policy.limit.amount, 0)
    age = now_ms - moments[excess] if moments else 0
    return Quota(policy, allowed, max(policy.limit.amount - len(moments), 0), policy.window_ms - age)
