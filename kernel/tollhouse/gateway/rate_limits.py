"""The gateway's protection of the server: so many requests a minute for an address or a caller. It never knows the plan.

A sliding window over the library's storages: this minute's count, plus what of the last minute's still lies within sixty
seconds. One increment and one read for a request. A refused request is taken back: who is too fast still gets their rate.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from limits.errors import StorageError

from tollhouse.plugin.errors import RateLimited
from tollhouse.settings import Settings
from tollhouse.store.rates import Rates, networks

log = logging.getLogger(__name__)
WINDOW: Final = 60
NO_TENANT: Final = "-"
"""In the place of the tenant's name, which a key begins with."""
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A named rate."""

    name: str
    amount: int
    header: bytes

    @classmethod
    def of(cls, name: str, amount: int) -> Policy:
        """With its ``RateLimit-Policy`` header."""
        return cls(name, amount, f'"{name}";q={amount};w={WINDOW}'.encode())


class RateLimits:
    """Counts requests. Fails open, and counts that too: a lost Redis must not close the house."""

    def __init__(
        self,
        settings: Settings,
        rates: Rates,
        on_failure: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = rates.storage
        self._on_failure = on_failure
        self._clock = clock
        self.anonymous = Policy.of("anonymous", settings.rate_limit_anonymous)
        self.pages = Policy.of("pages", settings.rate_limit_pages if settings.rate_limit_anonymous else 0)
        self.signed_in = Policy.of("signed-in", settings.rate_limit_principal)

    async def hit(self, policy: Policy, tenant: str, who: str) -> Headers:
        """Count a request; the headers that tell how much is left.

        Raises:
            RateLimited: there were too many in the last minute.
        """
        if not policy.amount:
            return ()
        now = self._clock()
        window = int(now // WINDOW)
        left = WINDOW - now % WINDOW
        key = f"{tenant}:rate:{policy.name}:{who}:"
        try:
            current = await self._storage.incr(f"{key}{window}", 2 * WINDOW)
            before = await self._storage.get(f"{key}{window - 1}")
            count = current + before * left / WINDOW
            if count > policy.amount:
                await self._storage.incr(f"{key}{window}", 2 * WINDOW, amount=-1)
        except StorageError as error:
            self._on_failure()
            log.warning("rate limits are not counted: the storage does not answer: %s", error)
            return ()
        if count > policy.amount:
            wait = _wait(policy.amount, current - 1, before, left)
            raise RateLimitReached(policy, wait)
        return _headers(policy, policy.amount - math.ceil(count), math.ceil(left))

    async def hit_address(self, policy: Policy, tenant: str, address: str) -> Headers:
        """Count a request of an address; the headers tell of the narrowest network that it counts as.

        Raises:
            RateLimited: there were too many in the last minute from one of its networks.
        """
        names = networks(address)
        headers = await self.hit(policy, tenant, names[0][0])
        for place, (name, more) in enumerate(names[1:], 1):
            try:
                await self.hit(Policy.of(policy.name, policy.amount * more), tenant, name)
            except RateLimited:
                for counted, _ in names[:place]:
                    await self._take_back(policy, tenant, counted)
                raise
        return headers

    async def _take_back(self, policy: Policy, tenant: str, who: str) -> None:
        try:
            key = f"{tenant}:rate:{policy.name}:{who}:{int(self._clock() // WINDOW)}"
            await self._storage.incr(key, 2 * WINDOW, amount=-1)
        except StorageError:
            self._on_failure()

    async def guess(self, address: str) -> None:
        """Count that this address names a tenant that nobody has named here before; each is asked of the database.

        Raises:
            RateLimited: there were too many in the last minute.
        """
        await self.hit_address(self.anonymous, NO_TENANT, address)


class RateLimitReached(RateLimited):
    """With the headers that say the same to programs."""

    def __init__(self, policy: Policy, wait: int) -> None:
        super().__init__(retry_after=wait, violated_policies=[policy.name])
        self.headers = _headers(policy, 0, wait)


def _headers(policy: Policy, remaining: int, reset: int) -> Headers:
    return (
        (b"ratelimit-policy", policy.header),
        (b"ratelimit", b'"%b";r=%d;t=%d' % (policy.name.encode(), max(remaining, 0), reset)),
    )


def _wait(amount: int, current: int, before: int, left: float) -> int:
    """Seconds until one more request fits, when nothing else comes."""
    if before and current + 1 <= amount:
        return max(1, math.ceil(left - (amount - current - 1) * WINDOW / before))
    # This minute alone is full: it has to slide out of the window in part.
    return max(1, math.ceil(left + WINDOW * max(0.0, 1 - (amount - 1) / max(current, 1))))
