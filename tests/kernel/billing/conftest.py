"""A shop with two tenants, users, agents and a payment provider that can be told to fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from tollhouse.agents.models import agents
from tollhouse.auth.models import users
from tollhouse.billing.admin import SubscriptionAdmin
from tollhouse.billing.plan_service import PlanService
from tollhouse.billing.service import SubscriptionService
from tollhouse.billing.terms import LimitTerms, Terms
from tollhouse.host.caller import Caller
from tollhouse.host.models import connections
from tollhouse.plugin import CheckoutOrder, NextAction, PaymentCapabilities, Principal, TenantInfo, Unavailable
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.store import Store

START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
FREE = Terms(all_agents=True, limits=(LimitTerms("calls", 20, "day"),))
PRO = Terms(price_minor=1900, all_agents=True, limits=(LimitTerms("calls", 500, "day"), LimitTerms("concurrent", 2, "now")))


@dataclass
class Provider:
    """A payment provider of the tests: it says what it was asked, and fails when told to."""

    capabilities: PaymentCapabilities = field(default_factory=PaymentCapabilities)
    down: bool = False
    orders: list[CheckoutOrder] = field(default_factory=list)
    canceled: list[str | None] = field(default_factory=list)

    async def checkout(self, ctx: Any, order: CheckoutOrder) -> NextAction:
        if self.down:
            raise Unavailable()
        self.orders.append(order)
        return NextAction("instructions", text=f"Pay {order.amount.minor} for {order.reference}")

    async def cancel(self, ctx: Any, provider_reference: str | None) -> None:
        self.canceled.append(provider_reference)


@dataclass
class Shop:
    """Everything a story needs, for any tenant."""

    store: Store
    provider: Provider
    plans: PlanService
    service: SubscriptionService
    admin: SubscriptionAdmin
    events: list[tuple[str, str]]

    async def user(self, tenant_id: UUID) -> Caller:
        user_id = new_id()
        async with self.store.transaction(tenant_id) as conn:
            await conn.execute(users.insert().values(tenant_id=tenant_id, id=user_id, email=f"{user_id}@example.test"))
        return self.caller(tenant_id, user_id)

    def caller(self, tenant_id: UUID, user_id: UUID) -> Caller:
        tenant = TenantInfo(tenant_id, "acme", "Acme", "UTC", "EUR", "en", "https://acme.example")
        return Caller(tenant, Principal(tenant_id, user_id, "password", "web", email="a@example.test"))

    async def agent(self, tenant_id: UUID, slug: str = "guide") -> UUID:
        agent_id = new_id()
        values = {"tenant_id": tenant_id, "id": agent_id, "slug": slug, "name": slug.title(), "status": "published"}
        async with self.store.transaction(tenant_id) as conn:
            await conn.execute(agents.insert().values(**values))
        return agent_id

    async def connect(self, tenant_id: UUID, plugin: str = "manual") -> UUID:
        connection_id = new_id()
        values = {"tenant_id": tenant_id, "id": connection_id, "kind": "payment", "plugin": plugin, "name": plugin}
        async with self.store.transaction(tenant_id) as conn:
            await conn.execute(connections.insert().values(**values))
        return connection_id

    async def open(self, tenant_id: UUID) -> Caller:
        """A free default plan, a paid one, a connection, and the admin."""
        admin = await self.user(tenant_id)
        await self.plans.create(admin, "free", "Free", FREE, default=True)
        await self.plans.create(admin, "pro", "Pro", PRO, position=1)
        await self.connect(tenant_id)
        return admin

    async def audited(self, tenant_id: UUID, action: str) -> int:
        async with self.store.transaction(tenant_id) as conn:
            statement = select(func.count()).where(audit.c.tenant_id == tenant_id, audit.c.action == action)
            return int((await conn.execute(statement)).scalar_one())


@pytest.fixture
def shop(store: Store) -> Shop:
    provider, events = Provider(), []

    async def emit(conn: Any, tenant_id: UUID, name: str, data: Any) -> None:
        events.append((name, str(data.get("status", ""))))

    class Connections:
        async def bound(self, tenant: Any, connection_id: UUID, revision: Any = None, principal: Any = None) -> Any:
            return SimpleNamespace(obj=provider, ctx=None, plugin_name="manual")

    store.at(START)
    plans = PlanService(store)
    service = SubscriptionService(store, plans, Connections(), emit)  # type: ignore[arg-type]
    return Shop(store, provider, plans, service, SubscriptionAdmin(store, plans, emit), events)
