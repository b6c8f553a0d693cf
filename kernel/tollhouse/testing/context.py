"""A :class:`~tollhouse.plugin.PluginContext` without a kernel: a real HTTP client, a fixed clock, a state in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp

from tollhouse.plugin import PluginContext, Principal, State, TenantInfo

TENANT = TenantInfo(
    id=UUID("0199a000-0000-7000-8000-000000000001"),
    slug="acme",
    name="Acme",
    timezone="Europe/Berlin",
    currency="EUR",
    language="en",
    base_url="https://acme.example",
    private_addresses=True,  # a test's own server is at one
)
"""The tenant of every context that is not given another."""

CONNECTION = UUID("0199a000-0000-7000-8000-00000000c001")
USER = UUID("0199a000-0000-7000-8000-00000000a001")


class FixedClock:
    """A clock that stands still until it is moved. Call it for the time, in UTC."""

    def __init__(self, at: datetime = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, seconds: float) -> None:
        """Move on by ``seconds``."""
        self.at += timedelta(seconds=seconds)


class MemoryState:
    """The connection's JSON store in a dict. Values are kept as JSON text, so what is not JSON fails here as in production."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, int]] = {}

    async def get(self, key: str) -> tuple[Any, int]:
        """The value and its revision; ``(None, 0)`` if there is none."""
        text, revision = self._rows.get(key, ("null", 0))
        return json.loads(text), revision

    async def put(self, key: str, value: Any, *, revision: int) -> bool:
        """Store ``value`` if the stored revision is still ``revision``."""
        if self._rows.get(key, ("", 0))[1] != revision:
            return False
        self._rows[key] = (json.dumps(value, allow_nan=False), revision + 1)
        return True


def make_principal(**changes: Any) -> Principal:
    """A signed-in user of :data:`TENANT` on the web; ``changes`` replaces fields."""
    fields: dict[str, Any] = {
        "tenant_id": TENANT.id,
        "user_id": USER,
        "auth_provider": "password",
        "channel": "web",
        "email": "ada@example.com",
        "name": "Ada",
    }
    return Principal(**{**fields, **changes})


@asynccontextmanager
async def make_context(
    config: Any = None,
    *,
    tenant: TenantInfo = TENANT,
    connection_id: UUID | None = CONNECTION,
    principal: Principal | None = None,
    now: Callable[[], datetime] | None = None,
    state: State | None = None,
    ports: Callable[[type[Any]], Any] | None = None,
) -> AsyncIterator[PluginContext[Any]]:
    """A context for calling a plugin's object, whose HTTP session is closed at the end.

    ``ports`` defaults to a :class:`~tollhouse.testing.ports.FakePorts` for ``principal``. The HTTP client applies no
    outbound rules: a test talks to its own server on localhost.
    """
    from tollhouse.testing.ports import FakePorts  # the fakes need what is above

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield PluginContext(
            tenant=tenant,
            config=config,
            connection_id=connection_id,
            principal=principal,
            http=http,
            log=logging.LoggerAdapter(logging.getLogger("tollhouse.testing"), {}),
            now=now or FixedClock(),
            state=state or MemoryState(),
            ports=ports or FakePorts(principal=principal),
        )
