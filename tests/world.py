"""A small world for stories: a tenant that sells agents on scripted models, its users, and the services around them.

The model is scripted, everything else is real: PostgreSQL, the policy engine, the ledger, the runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import insert

from tollhouse import plugin as th
from tollhouse.agents.models import agents, prompt_versions
from tollhouse.auth.models import users
from tollhouse.billing.models import limits, plan_versions, plans, subscriptions
from tollhouse.host.caller import Caller
from tollhouse.host.models import connections
from tollhouse.plugin.access import Principal
from tollhouse.settings import Settings
from tollhouse.store.ids import new_id
from tollhouse.store.secrets import SecretBox
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants
from tollhouse.wiring.container import Container, build

KEY = bytes(range(32))


class ScriptedModel:
    """A backend that answers as the test says. Counts one token for each character, so that numbers are easy to follow."""

    name = "scripted"
    title = "Scripted model"

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")

    def __init__(self) -> None:
        self.calls: list[th.CompletionRequest] = []
        self.answer: Callable[[th.CompletionRequest], th.Completion] = self.polite
        self.delay: Callable[[], float] = lambda: 0.0
        self.gate: asyncio.Event | None = None

    @staticmethod
    def polite(request: th.CompletionRequest) -> th.Completion:
        return th.Completion((th.Text("Hello."),), th.TokenUsage(10, 5), model=request.model)

    async def models(self, ctx: th.PluginContext[Any]) -> list[th.ModelInfo]:
        return [th.ModelInfo("m")]

    async def complete(self, ctx: th.PluginContext[Any], request: th.CompletionRequest) -> th.Completion:
        self.calls.append(request)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(self.delay())
        return self.answer(request)

    def count_tokens(self, model: str, text: str) -> int | None:
        return len(text)

    def suggest_prices(self) -> list[th.ModelPrice]:
        return [th.ModelPrice("m", 1_000_000, 2_000_000)]


@dataclass(frozen=True)
class PlainChannel:
    """A channel with a name."""

    name: str
    title: str = "Channel"
    capabilities: th.ChannelCapabilities = field(default_factory=th.ChannelCapabilities)


class WorldPlugin:
    """The scripted model, and two channels."""

    contract = (1, 0)
    ports: ClassVar[tuple[type[Any], ...]] = th.PORTS

    def __init__(self) -> None:
        self.model = ScriptedModel()

    @th.impl
    def register_llm_backends(self, settings: Any) -> list[Any]:
        return [self.model]

    @th.impl
    def register_channels(self, settings: Any) -> list[Any]:
        return [PlainChannel("api"), PlainChannel("web")]


@dataclass
class World:
    """One process's services and the scripted model in it."""

    container: Container
    plugin: WorldPlugin

    @property
    def store(self) -> Store:
        return self.container.store

    @property
    def model(self) -> ScriptedModel:
        return self.plugin.model

    async def caller(self, tenant_id: UUID, user_id: UUID, **values: Any) -> Caller:
        """Somebody who is signed in."""
        tenant = await self.container.directory.by_id(tenant_id)
        principal = Principal(
            tenant_id, user_id, "password", values.pop("channel", "api"), credential_kind="identity", **values
        )
        return Caller(self.container.directory.info(tenant, "http://test"), principal)


async def open_world(dsn: str, data_dir: Path, *, rules: Any = None, hot_pool_size: int = 10) -> World:
    """A process of its own: pools, caches and lease are not shared with another world on the same database."""
    settings = Settings(data_dir=data_dir, enabled=["world"])
    plugin = WorldPlugin()
    store = Store(dsn, hot_pool_size=hot_pool_size)
    more = {"rules": rules} if rules is not None else {}
    container = build(settings, store, SecretBox([KEY]), plugins={"world": plugin}, **more)
    await container.runner.start()
    return World(container, plugin)


@dataclass(frozen=True)
class Shop:
    """A tenant with one published agent on the scripted model and one plan."""

    tenant_id: UUID
    agent_id: UUID
    version_id: UUID
    plan_version_id: UUID
    connection_id: UUID


async def open_shop(
    store: Store, *plan_limits: Mapping[str, Any], spec: Mapping[str, Any] | None = None, **tenant: Any
) -> Shop:
    """Write a tenant into the database that sells the agent ``guide`` under the given limits."""
    ids = {name: new_id() for name in ("tenant", "agent", "version", "plan", "plan_version", "connection")}
    t = ids["tenant"]
    async with store.operator() as conn:
        await conn.execute(insert(tenants).values({"id": t, "slug": f"t{t.hex[-12:]}", "name": "Shop", **tenant}))
    full_spec = {
        "template": "You are {{ agent.name }}.",
        "primary": {"connection_id": str(ids["connection"]), "model": "m"},
        "max_output_tokens": 100,
        **(spec or {}),
    }
    async with store.transaction(t) as conn:
        await conn.execute(
            insert(connections).values(
                tenant_id=t, id=ids["connection"], kind="llm", plugin="scripted", name="Model", config={}
            )
        )
        await conn.execute(insert(agents).values(tenant_id=t, id=ids["agent"], slug="guide", name="Guide", status="published"))
        await conn.execute(
            insert(prompt_versions).values(
                tenant_id=t,
                id=ids["version"],
                agent_id=ids["agent"],
                number=1,
                status="active",
                weight=10_000,
                spec=full_spec,
                activated_at=(await conn.exec_driver_sql("SELECT app_now()")).scalar_one(),
            )
        )
        await conn.execute(insert(plans).values(tenant_id=t, id=ids["plan"], slug="free", name="Free"))
        await conn.execute(
            insert(plan_versions).values(
                tenant_id=t, id=ids["plan_version"], plan_id=ids["plan"], number=1, currency="EUR", all_agents=True
            )
        )
        for limit in plan_limits:
            await conn.execute(insert(limits).values(tenant_id=t, id=new_id(), plan_version_id=ids["plan_version"], **limit))
    return Shop(t, ids["agent"], ids["version"], ids["plan_version"], ids["connection"])


async def add_customer(store: Store, shop: Shop) -> UUID:
    """A user of the shop on its plan."""
    user_id = new_id()
    async with store.transaction(shop.tenant_id) as conn:
        now = (await conn.exec_driver_sql("SELECT app_now()")).scalar_one()
        await conn.execute(insert(users).values(tenant_id=shop.tenant_id, id=user_id, email=f"{user_id}@example.test"))
        await conn.execute(
            insert(subscriptions).values(
                tenant_id=shop.tenant_id,
                id=new_id(),
                user_id=user_id,
                plan_version_id=shop.plan_version_id,
                status="active",
                period_start=now,
                anchor=now,
            )
        )
    return user_id


def say(text: str = "Hi", **values: Any) -> th.TurnRequest:
    """A turn with the agent ``guide``."""
    return th.TurnRequest("guide", **{"parts": (th.Text(text),), "store": False, **values})
