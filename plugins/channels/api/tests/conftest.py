"""A real server on a port of its own, with the gateway around this plugin and the shipped fakes behind its ports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
import uvicorn
from tollhouse_api import plugin

from tollhouse.gateway.application import build_application
from tollhouse.gateway.parts import GatewayParts
from tollhouse.host.host import Registered
from tollhouse.plugin import NotFound, Principal, Unauthenticated
from tollhouse.settings import Settings
from tollhouse.tenants.values import Tenant
from tollhouse.testing.context import TENANT, make_context
from tollhouse.testing.ports import FakePorts
from tollhouse.testing.world import World


class Door:
    """One tenant, and a key for each user of the world: what the gateway asks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tenant = Tenant(
            TENANT.id, "default", "Acme", "active", "UTC", None, None, "EUR", "en", (), None, datetime(2026, 1, 1, tzinfo=UTC)
        )

    async def by_slug(self, slug: str) -> Tenant:
        if slug != "default":
            raise NotFound()
        return self.tenant

    async def by_host(self, host: str) -> Tenant:
        raise NotFound()

    async def authenticate(self, token: str) -> Principal:
        if not token.startswith("key-of-"):
            raise Unauthenticated()
        who = self.world.principal(token.removeprefix("key-of-") + "@example.com")
        return replace(who, auth_provider="api_key", channel="api", credential_kind="api_key")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server(world: World) -> AsyncIterator[str]:
    """Where it listens."""
    door = Door(world)
    [mount] = plugin.register_routes(None)
    async with make_context() as context:

        def contexts(name: str, caller: Any) -> Any:
            ports = FakePorts(world, caller.principal, plugin.ports)
            return replace(context, tenant=caller.tenant, principal=caller.principal, ports=ports)

        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            parts = GatewayParts(
                settings=Settings(public_url=address),
                authenticator=door,
                directory=door,
                ports={},
                contexts=contexts,
                plugin_mounts=[Registered("api", mount)],
            )
            config = uvicorn.Config(build_application(parts), log_config=None, lifespan="off", server_header=False)
            running = uvicorn.Server(config)
            task = asyncio.create_task(running.serve(sockets=[listener]))
            while not running.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
                await asyncio.sleep(0.01)
            yield address
            running.should_exit = True
            await task


MakeClient = Callable[..., openai.AsyncOpenAI]


@pytest.fixture
async def client(server: str) -> AsyncIterator[MakeClient]:
    """OpenAI's own client: ``client()`` is Ada's."""
    made: list[openai.AsyncOpenAI] = []

    def make(key: str = "key-of-ada", **options: Any) -> openai.AsyncOpenAI:
        made.append(openai.AsyncOpenAI(base_url=f"{server}/v1", api_key=key, **options))
        return made[-1]

    yield make
    for one in made:
        await one.close()
