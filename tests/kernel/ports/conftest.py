"""The kernel's real ports: one process on a real database, with a scripted model and a payment provider that is a fake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.conftest import Cluster
from tests.world import KEY, Shop, World, WorldPlugin, open_shop
from tollhouse import plugin as th
from tollhouse.agents.models import agents
from tollhouse.billing.terms import LimitTerms, Terms
from tollhouse.host.caller import Caller
from tollhouse.host.models import connections
from tollhouse.settings import Settings
from tollhouse.store.ids import new_id
from tollhouse.store.secrets import SecretBox
from tollhouse.store.store import Store
from tollhouse.testing import PASSWORD, FakePaymentProvider
from tollhouse.wiring.container import build

LIMITS = (LimitTerms("calls", 100, "day"), LimitTerms("total_tokens", 1_000_000, "month"), LimitTerms("concurrent", 5, "now"))


class PortsPlugin(WorldPlugin):
    """The scripted model, two channels, and a payment provider."""

    @th.impl
    def register_payment_providers(self, settings: Any) -> list[Any]:
        return [FakePaymentProvider()]


@dataclass(frozen=True)
class Market:
    """A tenant with the agents ``guide`` and ``expert`` and three plans; only ``guide`` is in the default one, ``starter``."""

    world: World
    shop: Shop

    async def nobody(self) -> Caller:
        """Somebody who is not signed in."""
        directory = self.world.container.directory
        return Caller(directory.info(await directory.by_id(self.shop.tenant_id), "http://test"), None, "203.0.113.7", "pytest")

    async def register(self, email: str) -> Caller:
        """A new user with a password, the default plan and a session."""
        container, nobody = self.world.container, await self.nobody()
        user = await container.accounts.register(self.shop.tenant_id, email, PASSWORD, "Ada")
        assert user.email is not None
        return await self.sign_in(nobody, user.email)

    async def sign_in(self, nobody: Caller, email: str) -> Caller:
        """Another session of a user."""
        signed_in = await self.world.container.sessions.login(self.shop.tenant_id, email, PASSWORD, "cookie")
        return Caller(nobody.tenant, signed_in.principal, nobody.address, nobody.user_agent)

    async def link(self, user_id: UUID) -> str:
        """A one-time link that signs a user in."""
        links, caller = self.world.container.links, await self.nobody()
        return await links.create(self.shop.tenant_id, "sign_in", user_id, by=None, actor=caller.actor)

    def port(self, kind: type[Any], caller: Caller) -> Any:
        """The kernel's own port, as a plugin gets it."""
        return self.world.container.ports[kind](caller)


async def open_market(world: World, *, default: bool) -> Market:
    """Open a market; ``default``: new users are put on the plan ``starter``."""
    shop = await open_shop(world.store)
    market = Market(world, shop)
    async with world.store.transaction(shop.tenant_id) as conn:
        expert = {"tenant_id": shop.tenant_id, "id": new_id(), "slug": "expert", "name": "Expert", "status": "published"}
        await conn.execute(agents.insert().values(**expert))
        paid_by = {"kind": "payment", "plugin": "fakepay", "name": "Payments", "config": {}}
        await conn.execute(connections.insert().values(tenant_id=shop.tenant_id, id=new_id(), **paid_by))
    boss = await market.world.container.accounts.make_owner(
        shop.tenant_id, f"boss-{uuid4().hex[:12]}@example.com", PASSWORD, actor=(await market.nobody()).actor
    )
    caller = await world.caller(shop.tenant_id, boss.id)
    plans, starter = world.container.plans, Terms(agents=frozenset({shop.agent_id}), limits=LIMITS)
    await plans.create(caller, "starter", "Starter", starter, default=default)
    await plans.create(caller, "gratis", "Gratis", Terms(all_agents=True, limits=LIMITS))
    await plans.create(caller, "pro", "Pro", Terms(price_minor=1900, all_agents=True))
    return market


@pytest.fixture
async def world(cluster: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    plugin = PortsPlugin()
    settings = Settings(data_dir=tmp_path, enabled=["world"])
    container = build(settings, Store(cluster.dsn, hot_pool_size=3), SecretBox([KEY]), plugins={"world": plugin})
    await container.runner.start()
    yield World(container, plugin)
    await container.close()


@pytest.fixture
async def market(world: World, request: pytest.FixtureRequest) -> Market:
    return await open_market(world, default=getattr(request.cls, "default_plan", True))


@pytest.fixture
def email() -> str:
    """The address of ``port``'s user."""
    return f"ada-{uuid4().hex[:12]}@example.com"


@pytest.fixture
async def caller(market: Market, email: str) -> Caller:
    return await market.register(email)
