"""The brake on guessing passwords: so many tries for an account, and for an address, in five minutes.

A try counts before the password is looked at, so that parallel ones cannot slip through. A sign-in that succeeds clears the
account's count and gives the address its try back: many people behind one address, and a forgetful owner, are not shut out.
"""

from __future__ import annotations

import hashlib
import math
import time
from typing import Final
from uuid import UUID

from limits import RateLimitItemPerMinute
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from tollhouse.auth.errors import TooManyTries
from tollhouse.plugin.errors import Unavailable
from tollhouse.settings import Settings
from tollhouse.store.rates import Rates

WINDOW_MINUTES: Final = 5


class LoginThrottle:
    """Counts tries in ``rate_limit_storage``: in memory, or in Redis for several processes. Keys begin with the tenant."""

    def __init__(self, settings: Settings, rates: Rates) -> None:
        self._amount = settings.rate_limit_login
        self._storage = rates.storage
        self._limiter = FixedWindowRateLimiter(self._storage)

    async def take(self, tenant_id: UUID, account: str, address: str) -> None:
        """Count a try.

        Raises:
            RateLimited: there were too many on this account or from this address; ``retry_after`` says when to come back.
        """
        if not self._amount:
            return
        item = self._item(tenant_id)
        try:
            # The address first: one that is shut out does not use up the tries of the account.
            for name in (_address(address), _account(account)):
                if not await self._limiter.hit(item, *name):
                    reset = (await self._limiter.get_window_stats(item, *name)).reset_time
                    raise TooManyTries(retry_after=max(1, math.ceil(reset - time.time())))
        except StorageError as error:
            raise Unavailable("Signing in is not possible for a moment; try again shortly") from error

    async def succeeded(self, tenant_id: UUID, account: str, address: str) -> None:
        """The last try was the right person."""
        if not self._amount:
            return
        item = self._item(tenant_id)
        try:
            await self._limiter.clear(item, *_account(account))
            await self._storage.incr(item.key_for(*_address(address)), item.get_expiry(), amount=-1)
        except StorageError as error:
            raise Unavailable("Signing in is not possible for a moment; try again shortly") from error

    def _item(self, tenant_id: UUID) -> RateLimitItemPerMinute:
        return RateLimitItemPerMinute(self._amount, WINDOW_MINUTES, namespace=str(tenant_id))


def _account(account: str) -> tuple[str, ...]:
    return ("login", "account", hashlib.sha256(account.encode("utf-8", "replace")).hexdigest()[:32])


def _address(address: str) -> tuple[str, ...]:
    return ("login", "address", hashlib.sha256(address.encode("utf-8", "replace")).hexdigest()[:32])
