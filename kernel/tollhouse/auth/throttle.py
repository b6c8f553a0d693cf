"""The brake on guessing passwords and links, and on making accounts.

A try counts before the password is looked at, so that parallel ones cannot slip through; the right person's is given back.

- An address (of IPv6 its /64, and more loosely its /48) has so many tries in five minutes, and so many links that are not
  valid.
- A browser that this account has signed in with is known (:mod:`tollhouse.auth.devices`) and counts apart, on nobody else's
  account: whatever strangers do, it is not kept waiting.
- Others together have so many tries on one account in an hour. From then on each of their addresses has to wait before each
  try: two seconds, then twice that, at most half a minute. The wait gives a place that nobody else can take. So somebody with
  the right password at a new address comes in after one wait, and somebody who guesses is slowed down, wherever they guess
  from.
- The same wait is asked of everybody who is not known while the whole installation has seen too many tries.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from limits.aio.storage import Storage
from limits.errors import StorageError

from tollhouse.auth.devices import Devices
from tollhouse.auth.errors import LinkInvalid, TooManyRegistrations, TooManyTries
from tollhouse.plugin.errors import RateLimited, Unavailable
from tollhouse.settings import Settings
from tollhouse.store.rates import Rates, networks

WINDOW: Final = 300
"""Seconds in which tries of an address, of a known browser and of all together are counted."""
ACCOUNT_WINDOW: Final = 3600
REGISTRATION_WINDOW: Final = 3600
FIRST_WAIT: Final = 2
LONGEST_WAIT: Final = 30
KEEPS_PLACE: Final = 300
"""Seconds for which a place is kept for who has waited."""


@dataclass(frozen=True, slots=True)
class _Count:
    """Something that is counted: its key, how much of it there may be, and for how long."""

    key: str
    amount: int
    window: int = WINDOW


class LoginThrottle:
    """Counts tries in ``rate_limit_storage``: in memory, or in Redis for several processes. Keys begin with the tenant."""

    def __init__(self, settings: Settings, rates: Rates, devices: Devices | None = None) -> None:
        """``devices``: those of this installation; none is known where it is left out."""
        self.devices = devices or Devices()
        self._amount = settings.rate_limit_login
        self._total = settings.rate_limit_login_total
        self._registrations = settings.rate_limit_registrations if settings.rate_limit_anonymous else 0
        self._storage: Storage = rates.storage

    async def take(self, tenant_id: UUID, account: str, address: str, *, device: str | None = None) -> None:
        """Count a try on an account. ``device``: a browser that the account is known to have signed in with, or a session.

        Raises:
            TooManyTries: not now; ``retry_after`` says when to come back.
            Unavailable: nothing can be counted.
        """
        if not self._amount:
            return
        with _storage_needed():
            if device is not None:
                await self._within([self._device(tenant_id, account, device)])
                return
            counts = self._addresses(tenant_id, "login", address)
            await self._within(counts)
            try:
                await self._wait_if_many(tenant_id, account, address)
            except RateLimited:
                await self._give_back(counts)  # nothing was tried
                raise

    async def succeeded(self, tenant_id: UUID, account: str, address: str, *, device: str | None = None) -> None:
        """The last try was the right person."""
        if not self._amount:
            return
        with _storage_needed():
            if device is not None:
                await self._storage.clear(self._device(tenant_id, account, device).key)
                return
            await self._storage.clear(self._account(tenant_id, account).key)
            await self._give_back([*self._addresses(tenant_id, "login", address), self._everybody()])

    @asynccontextmanager
    async def link_try(self, tenant_id: UUID, address: str) -> AsyncIterator[None]:
        """Around the look at a link. One that is not valid counts against the address.

        Raises:
            TooManyTries: there were too many of these.
        """
        counts = self._addresses(tenant_id, "link", address) if self._amount else []
        with _storage_needed():
            await self._within(counts)
        try:
            yield
        except LinkInvalid:
            raise
        except BaseException:
            await self._give_back_quietly(counts)
            raise
        await self._give_back_quietly(counts)

    async def register(self, tenant_id: UUID, address: str, device: str | None) -> None:
        """Count an account that is to be made.

        Raises:
            TooManyRegistrations: there were too many from this address or this browser.
        """
        if not self._registrations:
            return
        counts = [
            _Count(_key(tenant_id, "register", "address", name), self._registrations * more, REGISTRATION_WINDOW)
            for name, more in networks(address)
        ]
        if device is not None:
            counts.append(_Count(_key(tenant_id, "register", "device", device), self._registrations, REGISTRATION_WINDOW))
        with _storage_needed():
            await self._within(counts, TooManyRegistrations)

    # -- counting ----------------------------------------------------------------------------------------------------

    async def _within(self, counts: list[_Count], error: type[RateLimited] = TooManyTries) -> None:
        """Count all of these; none of them if there is too much of one."""
        for place, one in enumerate(counts):
            if await self._storage.incr(one.key, one.window) > one.amount:
                await self._give_back(counts[: place + 1])
                raise error(retry_after=await self._left(one.key))

    async def _give_back(self, counts: list[_Count]) -> None:
        for one in counts:
            await self._storage.incr(one.key, one.window, amount=-1)

    async def _give_back_quietly(self, counts: list[_Count]) -> None:
        with _storage_needed():
            await self._give_back(counts)

    async def _left(self, key: str) -> int:
        return max(1, math.ceil(await self._storage.get_expiry(key) - time.time()))

    # -- many tries on one account -------------------------------------------------------------------------------------

    async def _wait_if_many(self, tenant_id: UUID, account: str, address: str) -> None:
        """Let a try through while there were few; else only from an address that has waited for it."""
        on_account, all_over = self._account(tenant_id, account), self._everybody()
        tried = await self._storage.incr(on_account.key, on_account.window)
        total = await self._storage.incr(all_over.key, all_over.window)
        seconds = _wait_after(tried - on_account.amount)
        if self._total and total > self._total:
            seconds = LONGEST_WAIT
        if not seconds:
            return
        place = _key(tenant_id, "login", "place", account, networks(address)[0][0])
        try:
            await self._take_place(place, seconds)
        except RateLimited:
            await self._give_back([on_account, all_over])
            raise

    async def _take_place(self, place: str, seconds: int) -> None:
        """Use a place up, or give one for which ``seconds`` have to be waited.

        The wait is there before the place is, so who finds a place and no wait has waited; of those that come at once then, the
        first to count ``used`` has it.
        """
        wait, used = f"{place}:wait", f"{place}:used"
        if await self._storage.get(place):
            if await self._storage.get(wait):
                raise TooManyTries(retry_after=await self._left(wait))
            if await self._storage.incr(used, max(1, seconds - 1)) == 1:
                await self._storage.clear(place)
                return
            raise TooManyTries(retry_after=seconds)
        await self._storage.incr(wait, seconds)
        await self._storage.incr(place, seconds + KEEPS_PLACE)
        raise TooManyTries(retry_after=await self._left(wait))

    # -- what is counted -----------------------------------------------------------------------------------------------

    def _addresses(self, tenant_id: UUID, what: str, address: str) -> list[_Count]:
        return [_Count(_key(tenant_id, what, "address", name), self._amount * more) for name, more in networks(address)]

    def _account(self, tenant_id: UUID, account: str) -> _Count:
        return _Count(_key(tenant_id, "login", "account", account), self._amount, ACCOUNT_WINDOW)

    def _device(self, tenant_id: UUID, account: str, device: str) -> _Count:
        return _Count(_key(tenant_id, "login", "device", account, device), self._amount)

    def _everybody(self) -> _Count:
        return _Count("-:login:everybody", self._total)


@contextmanager
def _storage_needed() -> Iterator[None]:
    """Nobody guesses uncounted: without the storage, nobody signs in."""
    try:
        yield
    except StorageError as error:
        raise Unavailable("Signing in is not possible for a moment; try again shortly") from error


def _wait_after(over: int) -> int:
    """Seconds that a try has to wait, by how many there were beyond those that are free."""
    return min(FIRST_WAIT ** min(over, 10), LONGEST_WAIT) if over > 0 else 0


def _key(tenant_id: UUID, *names: str) -> str:
    """A key that begins with the tenant; names that somebody chose are hashed."""
    hashed = hashlib.sha256("\x1f".join(names[2:]).encode("utf-8", "replace")).hexdigest()[:32]
    return ":".join([str(tenant_id), *names[:2], hashed])
