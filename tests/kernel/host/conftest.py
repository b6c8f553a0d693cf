"""A host with one plugin that can be connected, on the real database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from tollhouse import plugin as th
from tollhouse.host.connections import Connections
from tollhouse.host.context import Contexts
from tollhouse.host.host import Host
from tollhouse.host.http import Http
from tollhouse.host.loader import load_plugins
from tollhouse.host.logs import Scrubber
from tollhouse.settings import Settings
from tollhouse.store.ids import new_id
from tollhouse.store.roles import provision_embedded
from tollhouse.store.secrets import SecretBox
from tollhouse.store.store import Store
from tollhouse.wiring import database


class AcmeConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")

    base_url: str = Field("https://acme.test", title="Base URL")
    retries: int = Field(1, ge=0, le=5)
    api_key: SecretStr = Field(title="Key")
    second_key: SecretStr | None = None

    @field_validator("api_key")
    @classmethod
    def _no_spaces(cls, value: SecretStr) -> SecretStr:
        if " " in value.get_secret_value():
            raise ValueError(f"{value.get_secret_value()} must not contain spaces")
        return value


class Acme:
    """An LLM backend whose test does what the story needs."""

    name = "acme"
    title = "Acme"
    Config: type[BaseModel] = AcmeConfig

    def __init__(self) -> None:
        self.outcome: Any = th.Health(True, "fine")

    async def models(self, ctx: Any) -> list[th.ModelInfo]:
        return []

    async def complete(self, ctx: Any, request: th.CompletionRequest) -> th.Completion:
        return th.Completion(())

    async def test(self, ctx: th.PluginContext[AcmeConfig]) -> th.Health:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        if callable(self.outcome):
            self.outcome = await self.outcome(ctx)
        return self.outcome  # type: ignore[no-any-return]


class Door:
    name = "door"
    title = "Door"
    Config: type[BaseModel] = AcmeConfig

    async def authorize_url(self, ctx: Any, request: Any) -> str:
        return ""

    async def exchange(self, ctx: Any, request: Any, callback: Any) -> Any: ...


class Page:
    """An interactive channel: it has no configuration, so it needs no connection."""

    name = "page"
    title = "Page"
    capabilities = th.ChannelCapabilities()


class AcmePlugin:
    contract = (1, 0)
    ports = (th.Turns,)

    def __init__(self) -> None:
        self.backend = Acme()

    @th.impl
    def register_llm_backends(self) -> Iterable[th.LLMBackend]:
        return [self.backend]

    @th.impl
    def register_auth_providers(self) -> Iterable[th.AuthProvider]:
        return [Door()]

    @th.impl
    def register_channels(self) -> Iterable[th.Channel]:
        return [Page()]


@pytest.fixture
async def fresh_store(cluster: Any) -> AsyncIterator[Store]:
    """A store on a database of its own, just migrated: for stories about the whole installation."""
    name = f"test_fresh{new_id().hex[-8:]}_{os.getpid()}"
    dsn = cluster.dsn.replace(cluster.dsn.split("@/", 1)[1].split("?")[0], name)
    await provision_embedded(cluster.superuser_dsn, name)
    await asyncio.to_thread(database.upgrade, dsn)
    store = Store(dsn)
    yield store
    await store.close()
    conn = await asyncpg.connect(cluster.superuser_dsn)
    await conn.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await conn.close()


@dataclass
class World:
    """Everything a story about connections needs."""

    store: Store
    host: Host
    box: SecretBox
    backend: Acme
    scrubber: Scrubber
    connections: Connections
    ports: dict[type[Any], Any] = field(default_factory=dict)

    def info(self, tenant_id: UUID) -> th.TenantInfo:
        return th.TenantInfo(tenant_id, "t", "T", "UTC", "EUR", "en", "http://127.0.0.1:8000")

    def again(self, *, box: SecretBox | None = None, host: Host | None = None, store: Store | None = None) -> Connections:
        """The connections of another process: nothing is cached yet."""
        store, old = store or self.store, self.connections.contexts
        contexts = Contexts(host or self.host, store, old.http, self.ports)
        return Connections(store, host or self.host, box or self.box, contexts, scrubber=self.scrubber)


@pytest.fixture
async def world(store: Store) -> AsyncIterator[World]:
    plugin, http, scrubber = AcmePlugin(), Http(), Scrubber()
    host = load_plugins(Settings(), plugins={"acme-suite": plugin}, environ={})
    box, ports = SecretBox([b"k" * 32]), dict[type[Any], Any]()
    connections = Connections(store, host, box, Contexts(host, store, http, ports), scrubber=scrubber)
    yield World(store, host, box, plugin.backend, scrubber, connections, ports)
    await http.close()
