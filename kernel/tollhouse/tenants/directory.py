"""Which tenant a request is about."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.plugin.context import TenantInfo
from tollhouse.plugin.errors import NotFound
from tollhouse.store.store import Store
from tollhouse.tenants import repository
from tollhouse.tenants.service import tenant_of
from tollhouse.tenants.values import Tenant

CACHE_SECONDS: Final = 1.0
CACHE_SIZE: Final = 5_000
NOBODY: Final = UUID(int=0)
"""The scope in which a name is looked up: it sees no rows, not even of the table of tenants."""


class TenantDirectory:
    """Finds tenants by short name, host name or id; remembers for at most a second. One per process."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._clock = clock
        self._known: OrderedDict[str | UUID, tuple[float, Tenant | None]] = OrderedDict()
        self._asking: dict[str | UUID, asyncio.Task[Tenant | None]] = {}

    async def by_slug(self, slug: str) -> Tenant:
        """
        Raises:
            NotFound: there is no such tenant.
        """
        return await self._find(f"slug:{slug}", lambda conn: repository.find_by_slug(conn, slug), usable=_storable(slug, 40))

    async def by_host(self, host: str) -> Tenant:
        """The tenant of a host name as it stands in the request (in any case, without port).

        Raises:
            NotFound: no tenant has it.
        """
        name = host.rstrip(".").lower()
        return await self._find(f"host:{name}", lambda conn: repository.find_by_host(conn, name), usable=_storable(name, 253))

    async def by_id(self, tenant_id: UUID) -> Tenant:
        """
        Raises:
            NotFound: there is no such tenant.
        """
        return await self._find(tenant_id, lambda conn: repository.get(conn, tenant_id), scope=tenant_id)

    def knows_host(self, host: str) -> bool:
        """Whether a request has come here by this name of a tenant, as far as this process remembers."""
        known = self._known.get(f"host:{host}")
        return known is not None and known[1] is not None

    def info(self, tenant: Tenant, base_url: str) -> TenantInfo:
        """The same as :func:`info`, for those who hold a directory and know nothing else of tenants."""
        return info(tenant, base_url)

    def forget(self) -> None:
        """Believe nothing any more that this process remembers."""
        self._known.clear()
        self._asking.clear()

    async def _find(
        self,
        key: str | UUID,
        ask: Callable[[AsyncConnection], Awaitable[repository.Row | None]],
        *,
        usable: bool = True,
        scope: UUID = NOBODY,
    ) -> Tenant:
        if not usable:
            raise NotFound()
        known = self._known.get(key)
        asked_at = self._clock()
        if known is not None and asked_at < known[0]:
            tenant = known[1]
        else:
            # Requests that come meanwhile wait for the same answer instead of all asking.
            asking = self._asking.get(key)
            if asking is None:
                asking = self._asking[key] = asyncio.create_task(self._ask(key, ask, asked_at, scope))
                asking.add_done_callback(lambda _: self._asking.pop(key, None))
            tenant = await asyncio.shield(asking)
        if tenant is None:
            raise NotFound()
        return tenant

    async def _ask(
        self, key: str | UUID, ask: Callable[[AsyncConnection], Awaitable[repository.Row | None]], asked_at: float, scope: UUID
    ) -> Tenant | None:
        async with self.store.transaction(scope) as conn:
            row = await ask(conn)
            moment = await repository.now(conn)
        tenant = None if row is None else tenant_of(row, moment)
        if self._asking.get(key) is not asyncio.current_task():
            return tenant  # told to forget meanwhile: what was read may be old
        self._known[key] = (asked_at + CACHE_SECONDS, tenant)
        self._known.move_to_end(key)
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
        return tenant


def info(tenant: Tenant, base_url: str) -> TenantInfo:
    """What plugins and pages may know of a tenant; ``base_url`` is where its pages begin."""
    return TenantInfo(
        id=tenant.id,
        slug=tenant.slug,
        name=tenant.name,
        timezone=tenant.timezone,
        currency=tenant.currency,
        language=tenant.language,
        base_url=base_url.rstrip("/"),
        cost_currency=tenant.cost_currency,
        private_addresses=tenant.private_addresses,
    )


def _storable(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and text.isascii() and text.isprintable()
